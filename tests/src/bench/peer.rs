//! What Patchmesh is measured beside: an rsync daemon, and nginx with curl.
//!
//! Both run on loopback with configurations of their own, write the same file
//! to the same file system and have it on disk (`fsync`) when the clock stops.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::cluster::free_address;
use crate::run::run;
use crate::wait::until;

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(20);

/// A server process that ends with this value.
pub(super) struct Peer {
    address: SocketAddr,
    _child: Child,
}

impl Peer {
    async fn start(address: SocketAddr, command: &mut Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        until("a peer's server to listen", START, async || {
            TcpStream::connect(address).await?;
            Ok(Some(()))
        })
        .await?;
        Ok(Self { address, _child: child })
    }

    /// An rsync daemon that serves `folder`.
    pub(super) async fn rsync(scratch: &Path, folder: &Path) -> Result<Self> {
        let address = free_address()?;
        let config = scratch.join("rsyncd.conf");
        fs::write(
            &config,
            format!(
                "use chroot = no\nread only = yes\n[bench]\npath = {}\nuid = {}\n",
                folder.display(),
                rsync_user()
            ),
        )?;
        let mut command = Command::new("rsync");
        command.args(["--daemon", "--no-detach", "--address=127.0.0.1"]);
        command.arg(format!("--port={}", address.port()));
        command.arg(format!("--config={}", config.display()));
        Self::start(address, &mut command).await.context("rsync")
    }

    /// nginx that serves `folder` over TLS 1.3 with a certificate of the mesh.
    pub(super) async fn nginx(scratch: &Path, folder: &Path, identity: &Path) -> Result<Self> {
        let address = free_address()?;
        let scratch = scratch.join("nginx");
        fs::create_dir_all(&scratch)?;
        let config = scratch.join("nginx.conf");
        fs::write(
            &config,
            format!(
                "daemon off;\nmaster_process off;\npid {0}/pid;\nerror_log {0}/error.log;\n\
                 events {{}}\n\
                 http {{\n  access_log off;\n  sendfile on;\n  tcp_nopush on;\n\
                 client_body_temp_path {0}/body;\n  proxy_temp_path {0}/proxy;\n\
                 fastcgi_temp_path {0}/fastcgi;\n  uwsgi_temp_path {0}/uwsgi;\n\
                 scgi_temp_path {0}/scgi;\n\
                 server {{\n    listen {address} ssl;\n    ssl_protocols TLSv1.3;\n\
                 ssl_certificate {1}/cert.pem;\n    ssl_certificate_key {1}/key.pem;\n\
                 root {2};\n  }}\n}}\n",
                scratch.display(),
                identity.display(),
                folder.display()
            ),
        )?;
        let nginx = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
        let mut command = Command::new(nginx);
        command.arg("-p").arg(&scratch).arg("-c").arg(&config);
        Self::start(address, &mut command).await.context("nginx")
    }

    /// Fetches with the rsync client and has it on disk.
    pub(super) async fn rsync_fetch(&self, file: &str, to: &Path) -> Result<Duration> {
        let target = fresh(to, "rsync")?;
        let source = format!("rsync://{}/bench/{file}", self.address);
        let start = Instant::now();
        run(Command::new("rsync").args(["--whole-file", "--fsync", &source]).arg(&target))
            .await?
            .success()?;
        finish(start, &target)
    }

    /// Fetches with curl over TLS 1.3 and has it on disk.
    pub(super) async fn curl_fetch(&self, file: &str, to: &Path, ca: &Path) -> Result<Duration> {
        let target = fresh(to, "curl")?;
        let url = format!("https://{}/{file}", self.address);
        let start = Instant::now();
        run(Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--tlsv1.3", "--cacert"])
            .arg(ca)
            .arg("--output")
            .arg(&target)
            .arg(&url))
        .await?
        .success()?;
        run(Command::new("sync").arg(&target)).await?.success()?;
        finish(start, &target)
    }
}

fn fresh(folder: &Path, name: &str) -> Result<PathBuf> {
    let target = folder.join(format!("fetched-by-{name}"));
    if target.exists() {
        fs::remove_file(&target)?;
    }
    Ok(target)
}

fn finish(start: Instant, target: &Path) -> Result<Duration> {
    let spent = start.elapsed();
    fs::remove_file(target)?;
    Ok(spent)
}

/// rsync's daemon changes to `nobody` when root starts it; the folder is ours.
fn rsync_user() -> String {
    let id = fs::metadata("/proc/self").map(|metadata| {
        use std::os::unix::fs::MetadataExt;
        metadata.uid()
    });
    id.unwrap_or(0).to_string()
}
