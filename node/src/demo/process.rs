//! Running programs: those that end, with a limit of time, and nodes, which
//! run until told otherwise.
//!
//! A node's standard input is a pipe that only the demo holds: when the demo
//! is gone, in whatever way, the pipe ends and the node stops by itself.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdin, Command};

use super::Error;

/// How long a node may take to stop in order before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// The most bytes that are kept of what a program prints.
const MAX_OUTPUT: u64 = 8 << 20;

/// How many lines of a log are shown when something went wrong.
const TAIL_LINES: usize = 15;

/// What a program left behind.
pub(super) struct Finished {
    pub(super) success: bool,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs a program to its end; one that takes longer is killed.
pub(super) async fn run(mut command: Command, limit: Duration) -> Result<Finished, Error> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let failed = |output: String| Error::Program { program: program.clone(), output };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A Ctrl-C on the terminal is for the demo, which then stops its children.
    command.kill_on_drop(true).process_group(0);
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    let stdout = read_all(child.stdout.take());
    let stderr = read_all(child.stderr.take());
    let all = async { tokio::join!(stdout, stderr, child.wait()) };
    match tokio::time::timeout(limit, all).await {
        Err(_) => Err(failed(format!("no end after {} s", limit.as_secs()))),
        Ok((stdout, stderr, status)) => {
            let status = status.map_err(|error| failed(error.to_string()))?;
            Ok(Finished { success: status.success(), stdout, stderr })
        }
    }
}

async fn read_all(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What came before an error is still worth having.
        let _ = pipe.take(MAX_OUTPUT).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A node's process.
pub(super) struct Process {
    node: String,
    child: Child,
    /// Its end tells the node to stop.
    leash: Option<ChildStdin>,
    log: PathBuf,
    pid_file: PathBuf,
}

impl Process {
    /// Starts a program for a node, with its output going to a log.
    pub(super) fn start(
        node: &str,
        mut command: Command,
        log: PathBuf,
        pid_file: PathBuf,
    ) -> Result<Self, Error> {
        let io = |source| Error::Io { action: "write", path: log.clone(), source };
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).map_err(io)?;
        let second = file.try_clone().map_err(io)?;
        command.stdin(Stdio::piped()).stdout(file).stderr(second);
        command.kill_on_drop(true).process_group(0);
        let mut child = command.spawn().map_err(|error| Error::Program {
            program: format!("node {node}"),
            output: error.to_string(),
        })?;
        let leash = child.stdin.take();
        let process = Self { node: node.to_owned(), child, leash, log, pid_file };
        if let Some(pid) = process.pid() {
            super::folder::write(&process.pid_file, format!("{pid}\n"))?;
        }
        Ok(process)
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Fails if the node has ended.
    pub(super) fn check(&mut self) -> Result<(), Error> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.ended(&status.to_string())),
            Err(error) => Err(self.ended(&error.to_string())),
        }
    }

    /// Waits for the node to end by itself.
    pub(super) async fn wait(&mut self) -> Error {
        match self.child.wait().await {
            Ok(status) => self.ended(&status.to_string()),
            Err(error) => self.ended(&error.to_string()),
        }
    }

    fn ended(&self, status: &str) -> Error {
        Error::NodeEnded {
            node: self.node.clone(),
            status: status.to_owned(),
            log: tail(&self.log),
        }
    }

    /// Lets the node go and waits for its end, which is forced in the end.
    pub(super) async fn stop(mut self) -> Option<ExitStatus> {
        drop(self.leash.take());
        let status = match tokio::time::timeout(STOP_LIMIT, self.child.wait()).await {
            Ok(status) => status.ok(),
            Err(_) => {
                tracing::warn!(node = self.node, "did not stop in time and is killed");
                // It has ended meanwhile if this fails.
                let _ = self.child.kill().await;
                None
            }
        };
        let _ = std::fs::remove_file(&self.pid_file);
        status
    }
}

/// The end of a log, indented.
pub(super) fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    let begin = lines.len().saturating_sub(TAIL_LINES);
    lines[begin..].iter().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_does_not_end_is_ended() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let outcome = run(command, Duration::from_millis(50)).await;
        assert!(matches!(outcome, Err(Error::Program { .. })));
    }

    #[tokio::test]
    async fn a_node_ends_with_its_leash() {
        let folder = tempfile::tempdir().expect("a folder");
        let (log, pid) = (folder.path().join("cat.log"), folder.path().join("cat.pid"));
        // `cat` behaves like a node here: it ends with its standard input.
        let mut process =
            Process::start("cat", Command::new("cat"), log, pid.clone()).expect("started");
        assert!(process.check().is_ok());
        assert!(pid.is_file());
        assert!(process.stop().await.is_some_and(|status| status.success()));
        assert!(!pid.exists());
    }

    #[test]
    fn only_the_end_of_a_log_is_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("x.log");
        let lines: String = (0..100).map(|number| format!("line {number}\n")).collect();
        std::fs::write(&log, lines).expect("written");
        let tail = tail(&log);
        assert!(tail.ends_with("  line 99\n") && !tail.contains("line 10\n"));
    }
}
