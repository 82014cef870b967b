//! Running a tool to its end, with a deadline and its words kept.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// The longest that any tool is given.
const DEADLINE: Duration = Duration::from_secs(300);

/// How a tool ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The command, for messages.
    pub command: String,
    /// Its exit code; 128 + n for signal n, as shells have it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// The outcome itself, unless the tool failed.
    ///
    /// # Errors
    /// The command, its exit code and both its outputs.
    pub fn success(self) -> Result<Self> {
        if self.code != 0 {
            bail!(
                "`{}` exited {}\n--- stdout\n{}\n--- stderr\n{}",
                self.command,
                self.code,
                self.stdout,
                self.stderr
            );
        }
        Ok(self)
    }

    /// The outcome itself when the tool failed as it should.
    ///
    /// # Errors
    /// When it succeeded or its standard error lacks one of `words`.
    pub fn failure_that_says(self, words: &[&str]) -> Result<Self> {
        if self.code == 0 {
            bail!("`{}` should have failed; it said\n{}", self.command, self.stdout);
        }
        if self.code == 101 || self.code > 128 {
            bail!("`{}` crashed with {}:\n{}", self.command, self.code, self.stderr);
        }
        let said = self.stderr.to_lowercase();
        for word in words {
            if !said.contains(&word.to_lowercase()) {
                bail!("`{}` failed without saying {word:?}:\n{}", self.command, self.stderr);
            }
        }
        Ok(self)
    }

    /// Standard output as JSON.
    ///
    /// # Errors
    /// When it is something else.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.stdout)
            .with_context(|| format!("`{}` did not print JSON:\n{}", self.command, self.stdout))
    }
}

/// Runs `command` to its end.
///
/// # Errors
/// When it cannot be started or does not end in time.
pub async fn run(command: &mut Command) -> Result<Outcome> {
    run_within(DEADLINE, command).await
}

/// Runs `command` to its end or kills it after `deadline`.
///
/// # Errors
/// When it cannot be started or does not end in time.
pub async fn run_within(deadline: Duration, command: &mut Command) -> Result<Outcome> {
    let words = describe(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().with_context(|| format!("could not start `{words}`"))?;
    let output = tokio::time::timeout(deadline, child.wait_with_output())
        .await
        .with_context(|| format!("`{words}` took longer than {deadline:?}"))?
        .with_context(|| format!("could not wait for `{words}`"))?;
    Ok(Outcome {
        command: words,
        code: exit_code(output.status),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn exit_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

fn describe(command: &Command) -> String {
    let command = command.as_std();
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether a tool of that name can be run.
#[must_use]
pub fn is_installed(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(tool).is_file())
}
