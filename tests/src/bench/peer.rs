//! What Patchmesh is measured beside: an rsync daemon, and nginx with curl.
//!
//! Both run on loopback with configurations of their own, write the same file
//! to the same file system and have it on disk (`fsync`) when the clock stops.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::cluster::free_address;
use crate::netns::{End, Pair};
use crate::run::run;
use crate::wait::until;

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(20);

/// Where a server runs: on loopback, or at the near end of a line.
pub(super) struct Place<'a> {
    address: SocketAddr,
    pair: Option<&'a Pair>,
}

impl<'a> Place<'a> {
    fn here() -> Result<Self> {
        Ok(Self { address: free_address()?, pair: None })
    }

    pub(super) fn near(pair: &'a Pair, port: u16) -> Self {
        Self { address: pair.address(End::Near, port), pair: Some(pair) }
    }

    fn command(&self, program: &str) -> Command {
        match self.pair {
            Some(pair) => pair.command(End::Near, program),
            None => Command::new(program),
        }
    }
}

/// A server process that ends with this value.
pub(super) struct Peer {
    address: SocketAddr,
    child: Child,
}

impl Peer {
    async fn start(place: &Place<'_>, command: &mut Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let address = place.address;
        match place.pair {
            Some(pair) => pair.listens(End::Near, address.port()).await?,
            None => {
                until("a peer's server to listen", START, async || {
                    TcpStream::connect(address).await?;
                    Ok(Some(()))
                })
                .await?;
            }
        }
        Ok(Self { address, child })
    }

    /// An rsync daemon that serves `folder`.
    pub(super) async fn rsync(scratch: &Path, folder: &Path) -> Result<Self> {
        Self::rsync_at(&Place::here()?, scratch, folder).await
    }

    /// The same somewhere else.
    pub(super) async fn rsync_at(place: &Place<'_>, scratch: &Path, folder: &Path) -> Result<Self> {
        let address = place.address;
        let config = scratch.join("rsyncd.conf");
        fs::write(
            &config,
            format!(
                "use chroot = no\nread only = yes\n[bench]\npath = {}\nuid = {}\n",
                folder.display(),
                rsync_user()
            ),
        )?;
        let mut command = place.command("rsync");
        command.args(["--daemon", "--no-detach"]);
        command.arg(format!("--address={}", address.ip()));
        command.arg(format!("--port={}", address.port()));
        command.arg(format!("--config={}", config.display()));
        Self::start(place, &mut command).await.context("rsync")
    }

    /// nginx that serves `folder` over TLS 1.3 with a certificate of the mesh.
    pub(super) async fn nginx(scratch: &Path, folder: &Path, identity: &Path) -> Result<Self> {
        let server = format!("root {};\n", folder.display());
        let place = Place::here()?;
        Self::nginx_with(&place, &scratch.join("nginx"), "", &server, identity).await
    }

    /// The same somewhere else.
    pub(super) async fn nginx_at(
        place: &Place<'_>,
        scratch: &Path,
        folder: &Path,
        identity: &Path,
    ) -> Result<Self> {
        let server = format!("root {};\n", folder.display());
        let scratch = scratch.join(format!("nginx-{}", place.address.port()));
        Self::nginx_with(place, &scratch, "", &server, identity).await
    }

    /// nginx that fetches from the server at `above` and keeps what it fetched;
    /// who asks meanwhile waits for it.
    pub(super) async fn caching_nginx(
        scratch: &Path,
        above: SocketAddr,
        identity: &Path,
    ) -> Result<Self> {
        let scratch = scratch.join("caching-nginx");
        let cache = format!("proxy_cache_path {}/cache keys_zone=bench:1m;\n", scratch.display());
        let server = format!(
            "location / {{\n proxy_pass https://{above};\n proxy_ssl_protocols TLSv1.3;\n proxy_cache bench;\n \
             proxy_cache_valid 200 1h;\n proxy_cache_lock on;\n proxy_cache_lock_timeout 180s;\n \
             proxy_cache_lock_age 180s;\n }}\n"
        );
        Self::nginx_with(&Place::here()?, &scratch, &cache, &server, identity).await
    }

    /// nginx that lets in only who has a certificate of the mesh, and keeps idle
    /// connections.
    pub(super) async fn nginx_for_members(scratch: &Path, identity: &Path) -> Result<Self> {
        let server = format!(
            "ssl_client_certificate {}/ca.pem;\n ssl_verify_client on;\n \
             keepalive_timeout 1h;\n return 204;\n",
            identity.display()
        );
        let scratch = scratch.join("nginx-for-members");
        Self::nginx_with(&Place::here()?, &scratch, "", &server, identity).await
    }

    async fn nginx_with(
        place: &Place<'_>,
        scratch: &Path,
        http: &str,
        server: &str,
        identity: &Path,
    ) -> Result<Self> {
        let address = place.address;
        fs::create_dir_all(scratch)?;
        let config = scratch.join("nginx.conf");
        fs::write(
            &config,
            format!(
                "daemon off;\nmaster_process off;\npid {0}/pid;\nerror_log {0}/error.log;\n\
                 worker_rlimit_nofile 20000;\nevents {{ worker_connections 19000; }}\n\
                 http {{\n  access_log off;\n  sendfile on;\n  tcp_nopush on;\n\
                 client_body_temp_path {0}/body;\n  proxy_temp_path {0}/proxy;\n\
                 fastcgi_temp_path {0}/fastcgi;\n  uwsgi_temp_path {0}/uwsgi;\n\
                 scgi_temp_path {0}/scgi;\n{http}\
                 server {{\n    listen {address} ssl;\n    ssl_protocols TLSv1.3;\n\
                 ssl_certificate {1}/cert.pem;\n    ssl_certificate_key {1}/key.pem;\n\
                 {server}  }}\n}}\n",
                scratch.display(),
                identity.display()
            ),
        )?;
        let nginx = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
        let mut command = place.command(nginx);
        command.arg("-p").arg(scratch).arg("-c").arg(&config);
        Self::start(place, &mut command).await.context("nginx")
    }

    /// Its one process.
    pub(super) fn process_id(&self) -> Result<u32> {
        self.child.id().context("a peer's server ended")
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same server behind a line.
    pub(super) fn through(&self, line: SocketAddr) -> Through {
        Through { address: line }
    }

    /// Fetches with the rsync client and has it on disk.
    pub(super) async fn rsync_fetch(&self, file: &str, to: &Path) -> Result<Duration> {
        self.through(self.address).rsync(file, to, &["--whole-file", "--fsync"]).await
    }

    /// Fetches with curl over TLS 1.3 and has it on disk.
    pub(super) async fn curl_fetch(&self, file: &str, to: &Path, ca: &Path) -> Result<Duration> {
        self.through(self.address).curl(file, to, ca, false).await
    }
}

/// An address of a peer's server, directly or through a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Through {
    address: SocketAddr,
}

impl Through {
    /// Fetches a file, or a folder that ends in `/`, with rsync.
    pub(super) async fn rsync(&self, file: &str, to: &Path, options: &[&str]) -> Result<Duration> {
        let target = fresh(to, "rsync")?;
        let source = format!("rsync://{}/bench/{file}", self.address);
        let start = Instant::now();
        peer_run(Command::new("rsync").args(options).arg(&source).arg(&target)).await?;
        finish(start, &target)
    }

    /// Fetches a folder with rsync beside what was fetched before, and leaves it
    /// there.
    pub(super) async fn rsync_again(&self, folder: &str, to: &Path) -> Result<Duration> {
        let source = format!("rsync://{}/bench/{folder}", self.address);
        let target = to.join("kept-by-rsync");
        let start = Instant::now();
        peer_run(Command::new("rsync").args(["--recursive", "--times"]).arg(&source).arg(&target))
            .await?;
        Ok(start.elapsed())
    }

    /// Fetches with curl over TLS 1.3 and has it on disk; with `verify` also
    /// reads it again to compute what Patchmesh verifies.
    pub(super) async fn curl(
        &self,
        file: &str,
        to: &Path,
        ca: &Path,
        verify: bool,
    ) -> Result<Duration> {
        let target = fresh(to, "curl")?;
        let url = format!("https://{}/{file}", self.address);
        let start = Instant::now();
        peer_run(
            Command::new("curl")
                .args(["--silent", "--show-error", "--fail", "--tlsv1.3", "--cacert"])
                .arg(ca)
                .arg("--output")
                .arg(&target)
                .arg(&url),
        )
        .await?;
        peer_run(Command::new("sync").arg(&target)).await?;
        if verify {
            peer_run(Command::new("b3sum").arg(&target)).await?;
        }
        finish(start, &target)
    }

    /// Fetches with aria2 over TLS and has it on disk.
    pub(super) async fn aria2(&self, file: &str, to: &Path, ca: &Path) -> Result<Duration> {
        let target = fresh(to, "aria2")?;
        let url = format!("https://{}/{file}", self.address);
        let start = Instant::now();
        peer_run(
            Command::new("aria2c")
                .args(["--quiet", "--file-allocation=none", "--split=4"])
                .args(["--max-connection-per-server=4", "--ca-certificate"])
                .arg(ca)
                .arg("--dir")
                .arg(to)
                .args(["--out", "fetched-by-aria2"])
                .arg(&url),
        )
        .await?;
        peer_run(Command::new("sync").arg(&target)).await?;
        finish(start, &target)
    }
}

/// Writes a file again with `dd`, which reads it from memory, and syncs it.
pub(super) async fn plain_write(from: &Path, to: &Path) -> Result<Duration> {
    let target = fresh(to, "dd")?;
    let (from, into) = (format!("if={}", from.display()), format!("of={}", target.display()));
    let start = Instant::now();
    peer_run(Command::new("dd").args([&from, &into]).args(["bs=1M", "conv=fsync", "status=none"]))
        .await?;
    finish(start, &target)
}

/// Commands that were run, with folders and ports taken out.
static USED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

async fn peer_run(command: &mut Command) -> Result<()> {
    let outcome = run(command).await?.success()?;
    note(&outcome.command);
    Ok(())
}

/// Keeps a command for the page.
pub(super) fn note(command: &str) {
    let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    used.insert(general(command));
}

/// Words as a shell takes them; none of ours has a quote in it.
pub(super) fn line(words: impl IntoIterator<Item: AsRef<str>>) -> String {
    let quoted = |word: &str| match word.contains(' ') {
        true => format!("'{word}'"),
        false => word.to_owned(),
    };
    let words = words.into_iter().map(|word| quoted(word.as_ref()));
    words.collect::<Vec<_>>().join(" ")
}

/// The commands that peers ran in this run, for the page.
#[must_use]
pub fn used() -> Vec<String> {
    USED.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}

/// A command without the names of one run: `FILE` for paths, `HOST` for
/// addresses on loopback.
fn general(command: &str) -> String {
    let words = command.split(' ').map(|word| {
        let (option, value) = word.split_once('=').unwrap_or(("", word));
        let value = match value {
            url if url.contains("://") => {
                let scheme = url.split("://").next().unwrap_or_default();
                format!("{scheme}://HOST/FILE")
            }
            path if path.starts_with('/') => "FILE".to_owned(),
            other => other.to_owned(),
        };
        if option.is_empty() { value } else { format!("{option}={value}") }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn fresh(folder: &Path, name: &str) -> Result<PathBuf> {
    let target = folder.join(format!("fetched-by-{name}"));
    remove(&target)?;
    Ok(target)
}

fn finish(start: Instant, target: &Path) -> Result<Duration> {
    let spent = start.elapsed();
    remove(target)?;
    Ok(spent)
}

fn remove(target: &Path) -> Result<()> {
    if target.is_dir() {
        fs::remove_dir_all(target)?;
    } else if target.exists() {
        fs::remove_file(target)?;
    }
    Ok(())
}

/// rsync's daemon changes to `nobody` when root starts it; the folder is ours.
fn rsync_user() -> String {
    let id = fs::metadata("/proc/self").map(|metadata| {
        use std::os::unix::fs::MetadataExt;
        metadata.uid()
    });
    id.unwrap_or(0).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_without_this_machines_names() {
        assert_eq!(
            general("rsync --fsync rsync://127.0.0.1:12/bench/x /tmp/y"),
            "rsync --fsync rsync://HOST/FILE FILE"
        );
        assert_eq!(general("dd if=/a of=/b bs=1M"), "dd if=FILE of=FILE bs=1M");
    }

    #[test]
    fn what_is_shown_can_be_run() {
        let words = ["link", "set", "lyon", "--down-at", "08:00-18:00 4Mbit/s"];
        assert_eq!(general(&line(words)), "link set lyon --down-at '08:00-18:00 4Mbit/s'");
    }
}
