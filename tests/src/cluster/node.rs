//! One `patchmesh serve` process with its data folder, port and log.

use std::fs::{self, OpenOptions};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use patchmesh_proto::admin::admin_client::AdminClient;
use patchmesh_proto::admin::{GetStatusRequest, GetStatusResponse};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tonic::transport::{Channel, Endpoint, Uri};

use crate::binaries;
use crate::netns;
use crate::wait::{PATIENCE, until};

/// How long a node may take to end when asked kindly.
const STOP: Duration = Duration::from_secs(20);

/// The longest admin call.
const CALL: Duration = Duration::from_secs(30);

/// One node.
pub struct Node {
    /// Its name in the mesh.
    pub name: String,
    /// Its data folder.
    pub data: PathBuf,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its base URL, as told to the mesh; leads through a proxy if it has one.
    pub url: String,
    /// Its log.
    pub log: PathBuf,
    /// More arguments for `serve`.
    pub arguments: Vec<String>,
    /// More environment for `serve`.
    pub environment: Vec<(String, String)>,
    /// The network namespace that it runs in.
    pub namespace: Option<String>,
    child: Option<Child>,
}

impl Node {
    /// A node that was not set up yet.
    ///
    /// # Errors
    /// When no port is free.
    pub fn new(folder: &Path, name: &str) -> Result<Self> {
        let listen = free_address()?;
        Ok(Self {
            name: name.to_owned(),
            data: folder.join(name),
            listen,
            url: format!("https://{listen}"),
            log: folder.join(format!("{name}.log")),
            arguments: Vec::new(),
            environment: Vec::new(),
            namespace: None,
            child: None,
        })
    }

    /// `patchmesh --data DATA`, to be continued.
    ///
    /// # Errors
    /// When the program was not built.
    pub fn command(&self) -> Result<Command> {
        let program = binaries::patchmesh()?;
        let mut command = netns::command(self.namespace.as_deref(), program);
        command.arg("--data").arg(&self.data).kill_on_drop(true);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PATCHMESH_")) {
            command.env_remove(name);
        }
        Ok(command)
    }

    /// Starts the process and waits until it answers.
    ///
    /// # Errors
    /// When it ends or does not answer in time.
    pub async fn start(&mut self) -> Result<()> {
        self.spawn()?;
        until(&format!("{} to answer", self.name), PATIENCE, async || {
            self.ended()?;
            self.status().await.map(Some)
        })
        .await?;
        Ok(())
    }

    /// Starts the process and does not wait.
    ///
    /// # Errors
    /// When it runs already or cannot be started.
    pub fn spawn(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "{} runs already", self.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = self.command()?;
        command
            .args(["--log-format", "text", "serve", "--exit-with-parent"])
            .arg("--listen")
            .arg(self.listen.to_string())
            .args(&self.arguments)
            .env("RUST_BACKTRACE", "1")
            .envs(self.environment.iter().cloned())
            // Its end of the pipe tells it that the test is gone.
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.child = Some(command.spawn().context("could not start patchmesh serve")?);
        Ok(())
    }

    /// Fails when the process has ended.
    fn ended(&mut self) -> Result<()> {
        let Some(child) = &mut self.child else { bail!("{} does not run", self.name) };
        if let Some(status) = child.try_wait()? {
            self.child = None;
            bail!("{} ended with {status}:\n{}", self.name, self.log_tail());
        }
        Ok(())
    }

    /// The process's id while it runs.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// The most memory that the process has held so far, in bytes.
    ///
    /// # Errors
    /// When it does not run.
    pub fn peak_memory(&self) -> Result<u64> {
        let id = self.process_id().with_context(|| format!("{} does not run", self.name))?;
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let line = line.context("the kernel tells no VmHWM")?;
        let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kibibytes << 10)
    }

    /// Whether the process runs.
    #[must_use]
    pub fn runs(&mut self) -> bool {
        self.child.is_some() && self.ended().is_ok()
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.name))?;
        child.start_kill()?;
        child.wait().await?;
        Ok(())
    }

    /// Asks the process to end, waits, and tells how it ended.
    ///
    /// # Errors
    /// When it does not run or does not end in time.
    pub async fn stop(&mut self) -> Result<i32> {
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.name))?;
        let id = child.id().with_context(|| format!("{} has ended", self.name))?;
        Command::new("kill").args(["-TERM", &id.to_string()]).status().await?;
        let status = tokio::time::timeout(STOP, child.wait())
            .await
            .with_context(|| format!("{} did not stop within {STOP:?}", self.name))??;
        Ok(status.code().unwrap_or(-1))
    }

    /// Waits until the process ends by itself.
    ///
    /// # Errors
    /// When it does not within `within`.
    pub async fn wait_for_end(&mut self, within: Duration) -> Result<i32> {
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.name))?;
        // Waiting would close it, and so tell the process to stop.
        let _stdin = child.stdin.take();
        let status = tokio::time::timeout(within, child.wait())
            .await
            .with_context(|| format!("{} did not end within {within:?}", self.name))??;
        Ok(status.code().unwrap_or(-1))
    }

    /// Kills and starts again.
    ///
    /// # Errors
    /// As `kill` and `start`.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill().await?;
        self.start().await
    }

    /// Copies its data folder, as a backup or a thief would.
    ///
    /// # Errors
    /// When it runs, or a file cannot be copied.
    pub fn copy_data_to(&self, folder: &Path) -> Result<()> {
        ensure!(self.child.is_none(), "{} runs", self.name);
        copy_tree(&self.data, folder)
    }

    /// A client of its admin service over the local socket.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn admin(&self) -> Result<AdminClient<Channel>> {
        Ok(AdminClient::new(self.socket().await?).max_decoding_message_size(64 << 20))
    }

    /// A channel to its local socket.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn socket(&self) -> Result<Channel> {
        let socket = self.data.join("admin.sock");
        // The URL is never used to connect.
        let endpoint = Endpoint::from_static("http://local.socket").timeout(CALL);
        endpoint
            .connect_with_connector(tower::service_fn(move |_: Uri| {
                let socket = socket.clone();
                async move { UnixStream::connect(socket).await.map(hyper_util::rt::TokioIo::new) }
            }))
            .await
            .with_context(|| format!("{} does not listen on its socket", self.name))
    }

    /// The file with the mesh's CA that it trusts.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.data.join("identity/ca.pem")
    }

    /// Its own word about itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status(&self) -> Result<GetStatusResponse> {
        let response = self.admin().await?.get_status(GetStatusRequest {}).await;
        Ok(response.with_context(|| format!("{} gave no status", self.name))?.into_inner())
    }

    /// The whole log.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn log_text(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }

    /// The end of the log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

/// Ports are taken from here on: below those that the system hands out to
/// outgoing connections, which could take one while its node is being restarted.
const FIRST_PORT: u16 = 12_000;

/// … and so many of them.
const PORTS: u16 = 8_000;

/// The next port that this process looks at.
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

/// An address on loopback that was free a moment ago, and that this process
/// has not given to anybody else.
///
/// # Errors
/// When there is none.
pub fn free_address() -> Result<SocketAddr> {
    // Begun at another place in every process: tests run side by side.
    let start = std::process::id().wrapping_mul(61) % u32::from(PORTS);
    for _ in 0..PORTS {
        let step = u32::from(NEXT_PORT.fetch_add(1, Ordering::Relaxed));
        let offset = (start + step) % u32::from(PORTS);
        let port = FIRST_PORT + u16::try_from(offset)?;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return Ok(listener.local_addr()?);
        }
    }
    bail!("no port on loopback is free")
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
