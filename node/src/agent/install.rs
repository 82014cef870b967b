//! Running installers: bounded in time and output, in a process group of their
//! own that ends as one.

pub mod dpkg;
pub mod files;
pub mod rpm;

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use patchmesh_topology::revision::Installer;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// An installer whose vendor states no limit is ended after this.
pub const TIME_LIMIT: Duration = Duration::from_secs(30 * 60);

/// What stands for the file in a vendor's command.
pub const PAYLOAD: &str = "{payload}";

/// How long the command that restarts a machine may take.
const RESTART_LIMIT: Duration = Duration::from_secs(5 * 60);

/// What is kept of an installer's output: the end of it.
const MAX_OUTPUT: usize = 64 << 10;

/// How long output may still come after an installer ended: a service that it
/// started may hold the pipe.
const AFTER: Duration = Duration::from_secs(2);

/// Where tools of dpkg are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Lines of it that are told: the fault's own or the last ones, and before a fault's
/// what a package's script said.
const LINES: usize = 3;
const BEFORE: usize = 2;

/// Packages of one call: their paths have to fit on a command line.
pub const MAX_PACKAGES: usize = 200;

/// How an installer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Code(i32),
    /// By a signal.
    Signal,
    /// It took too long and was ended.
    TimedOut(Duration),
    /// It could not be started.
    NotStarted(String),
    /// It did not do what it was to do: how, for people.
    Failed(String),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub ended: Ended,
    /// The end of what it said.
    pub output: String,
}

/// What an exit code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// It is done.
    Success,
    /// It is done, and the machine has to restart.
    Reboot,
    /// Later it may go well.
    Retry,
    /// It failed.
    Failure,
}

impl Outcome {
    /// The exit code, -1 where there is none.
    #[must_use]
    pub fn code(&self) -> i64 {
        match self.ended {
            Ended::Code(code) => code.into(),
            _ => -1,
        }
    }

    /// What it means by what the vendor says of codes.
    #[must_use]
    pub fn meaning(&self, installer: &Installer) -> Meaning {
        let Ended::Code(code) = self.ended else { return Meaning::Failure };
        if installer.reboot.contains(&code) {
            Meaning::Reboot
        } else if installer.retry.contains(&code) {
            Meaning::Retry
        } else if installer.success.contains(&code) || (installer.success.is_empty() && code == 0) {
            Meaning::Success
        } else {
            Meaning::Failure
        }
    }

    /// How it ended, and what it said about `words` or else last, for people.
    #[must_use]
    pub fn summary(&self, words: &[&str]) -> String {
        let how = match &self.ended {
            Ended::Code(code) => format!("ended with {code}"),
            Ended::Signal => "was ended by a signal".to_owned(),
            Ended::TimedOut(limit) => format!("was ended after {} s", limit.as_secs()),
            Ended::NotStarted(why) => format!("could not be started: {why}"),
            Ended::Failed(how) => how.clone(),
        };
        let lines = || self.output.lines().map(str::trim).filter(|line| !line.is_empty());
        let about = |line: &&str| words.iter().any(|word| line.contains(word));
        let is_fault = |line: &&str| line.contains("rror") || line.contains("problem");
        // The line of a fault of it, with what follows; else the last ones. What dpkg
        // itself does before ends with dots, and scripts say why they fail after that.
        let all: Vec<&str> = lines().collect();
        let fault = all.iter().position(|line| is_fault(line) && about(line));
        let fault = fault.unwrap_or(all.len().saturating_sub(LINES));
        let (done, rest) = all.split_at(fault);
        let is_own = |line: &&&str| !line.ends_with("...") && !line.starts_with("dpkg: ");
        let before = done.iter().rev().take(BEFORE).take_while(is_own).count();
        let told = done[fault - before..].iter().chain(rest.iter().take(LINES));
        let said = told.copied().collect::<Vec<_>>().join("; ");
        if said.is_empty() { how } else { format!("{how}: {said}") }
    }
}

/// Runs a command of the machine's administrator.
pub async fn shell(command: &str, limit: Duration) -> Outcome {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]);
    run(shell, limit).await
}

/// Runs the command that restarts the machine.
///
/// # Errors
/// What came of it, where it did not succeed.
pub async fn restart(command: &str) -> Result<(), String> {
    let outcome = shell(command, RESTART_LIMIT).await;
    if outcome.ended == Ended::Code(0) { Ok(()) } else { Err(outcome.summary(&[])) }
}

/// Runs a command of a vendor's installer, to install or to remove, on this machine
/// itself.
pub async fn vendor(installer: &Installer, words: &[String], file: &Path) -> Outcome {
    let file = file.display().to_string();
    let mut words = words.iter().map(|word| word.replace(PAYLOAD, &file));
    let limit = installer.time_limit.and_then(|limit| Duration::try_from(limit).ok());
    let Some(program) = words.next() else {
        let why = "its vendor names no program".to_owned();
        return Outcome { ended: Ended::NotStarted(why), output: String::new() };
    };
    let mut command = Command::new(program);
    command.args(words);
    run(command, limit.unwrap_or(TIME_LIMIT)).await
}

/// Runs a command to its end, or ends it.
async fn run(mut command: Command, limit: Duration) -> Outcome {
    command
        .env("PATH", PATH)
        .env("LC_ALL", "C.UTF-8")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            return Outcome { ended: Ended::NotStarted(error.to_string()), output: String::new() };
        }
    };
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let (stdout, stderr) = (Tail::of(child.stdout.take()), Tail::of(child.stderr.take()));
    let ended = match timeout(limit, child.wait()).await {
        Ok(Ok(status)) => status.code().map_or(Ended::Signal, Ended::Code),
        Ok(Err(error)) => Ended::NotStarted(error.to_string()),
        Err(_) => {
            // Whatever it started goes with it.
            if let Some(group) = group {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = child.wait().await;
            Ended::TimedOut(limit)
        }
    };
    let mut output = String::new();
    for tail in [stdout, stderr] {
        output.push_str(&tail.read().await);
    }
    Outcome { ended, output }
}

/// The end of what a process says, as it comes.
struct Tail {
    kept: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Tail {
    fn of(stream: Option<impl AsyncRead + Unpin + Send + 'static>) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let reader = tokio::spawn(keep_end(stream, Arc::clone(&kept)));
        Self { kept, reader }
    }

    /// What came until now, and shortly after.
    async fn read(mut self) -> String {
        if timeout(AFTER, &mut self.reader).await.is_err() {
            self.reader.abort();
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let from = kept.len().saturating_sub(MAX_OUTPUT);
        String::from_utf8_lossy(&kept[from..]).into_owned()
    }
}

async fn keep_end(stream: Option<impl AsyncRead + Unpin>, to: Arc<Mutex<Vec<u8>>>) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; 8 << 10];
    while let Ok(bytes) = stream.read(&mut buffer).await {
        if bytes == 0 {
            break;
        }
        let mut kept = to.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(&buffer[..bytes]);
        if kept.len() > 2 * MAX_OUTPUT {
            let surplus = kept.len() - MAX_OUTPUT;
            kept.drain(..surplus);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installer(words: &[&str]) -> Installer {
        let install = words.iter().map(|word| (*word).to_owned()).collect();
        Installer { install, reboot: vec![10], retry: vec![11], ..Installer::default() }
    }

    #[tokio::test]
    async fn what_was_said_is_kept_where_something_else_holds_the_pipe() {
        let outcome = shell("echo the reason why >&2; sleep 30 & exit 3", TIME_LIMIT).await;
        assert_eq!(outcome.summary(&[]), "ended with 3: the reason why");
    }

    #[tokio::test]
    async fn codes_mean_what_the_vendor_says() {
        for (code, meaning) in [
            ("0", Meaning::Success),
            ("10", Meaning::Reboot),
            ("11", Meaning::Retry),
            ("3", Meaning::Failure),
        ] {
            let script = format!("echo to $0; exit {code}");
            let installer = installer(&["sh", "-c", &script, "{payload}"]);
            let outcome = vendor(&installer, &installer.install, Path::new("/x/y.msu")).await;
            assert_eq!(outcome.meaning(&installer), meaning);
            assert_eq!(outcome.summary(&[]), format!("ended with {code}: to /x/y.msu"));
        }
        let absent = installer(&["/no/such/program"]);
        let outcome = vendor(&absent, &absent.install, Path::new("x")).await;
        assert_eq!((outcome.meaning(&absent), outcome.code()), (Meaning::Failure, -1));
    }

    #[test]
    fn why_a_script_failed_is_told_with_what_dpkg_says_of_it() {
        let output = "Setting up tool (2) ...\nSetting up app (2) ...\nno room\n\
            dpkg: error processing package app (--install):\n script returned error 3\n\
            Errors were encountered while processing:\n app\n";
        let outcome = Outcome { ended: Ended::Code(1), output: output.to_owned() };
        let told = "ended with 1: no room; dpkg: error processing package app (--install):; \
            script returned error 3; Errors were encountered while processing:";
        assert_eq!(outcome.summary(&["app"]), told);
    }

    #[tokio::test]
    async fn one_that_takes_too_long_ends_with_what_it_started() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo $!; wait"]);
        let outcome = run(command, Duration::from_millis(300)).await;
        assert_eq!(outcome.ended, Ended::TimedOut(Duration::from_millis(300)));
        let child: i32 = outcome.output.trim().parse().expect("a process");
        // Killed, it is soon gone, or a zombie that nobody has asked for yet.
        let goes_on = || {
            let status = std::fs::read_to_string(format!("/proc/{child}/stat"));
            status.is_ok_and(|status| !status.contains(" Z "))
        };
        let end = async {
            while goes_on() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), end).await.expect("it goes on");
    }

    #[tokio::test]
    async fn of_endless_output_the_end_is_kept() {
        let mut command = Command::new("sh");
        command.args(["-c", "yes | head -c 1000000; echo the end"]);
        let outcome = run(command, TIME_LIMIT).await;
        assert_eq!(outcome.ended, Ended::Code(0));
        assert!(outcome.output.len() <= MAX_OUTPUT && outcome.output.ends_with("the end\n"));
    }
}
