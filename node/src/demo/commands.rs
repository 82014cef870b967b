//! Our own commands, run as a user runs them: this program, a data folder,
//! JSON back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::process::Command;

use super::{Error, process};
use crate::config::ENVIRONMENT_PREFIX;

/// How long one command may take: a minute is more than any needs here.
const LIMIT: Duration = Duration::from_secs(60);

/// This program, with the user's own settings out of the way.
pub(super) fn this_program() -> Result<Command, Error> {
    let path = std::env::current_exe().map_err(|source| Error::Io {
        action: "find",
        path: PathBuf::from("this program"),
        source,
    })?;
    let mut command = Command::new(path);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with(ENVIRONMENT_PREFIX) {
            command.env_remove(name);
        }
    }
    // The vendor is on this machine too, where no proxy leads.
    for name in ["no_proxy", "NO_PROXY"] {
        command.env(name, "127.0.0.1,localhost");
    }
    Ok(command)
}

/// Runs a command against the node of a data folder and reads its JSON.
pub(super) async fn run<T: DeserializeOwned>(
    node: &str,
    data: &Path,
    arguments: &[&str],
) -> Result<T, Error> {
    let mut command = this_program()?;
    command.arg("--data").arg(data).args(["--output", "json", "--quiet"]).args(arguments);
    let failed = |output: String| Error::Command {
        node: node.to_owned(),
        command: format!("patchmesh {}", shown(arguments)),
        output,
    };
    let finished = process::run(command, LIMIT).await.map_err(|error| failed(error.to_string()))?;
    if !finished.success {
        return Err(failed(message(&finished.stderr)));
    }
    serde_json::from_str(&finished.stdout).map_err(|error| failed(error.to_string()))
}

/// What a failed command said: the message of its JSON error if it has one.
fn message(stderr: &str) -> String {
    let last = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    serde_json::from_str::<serde_json::Value>(last)
        .ok()
        .and_then(|value| Some(value["error"]["message"].as_str()?.to_owned()))
        .unwrap_or_else(|| stderr.trim().to_owned())
}

/// The arguments as a message shows them: a token is nobody's business.
fn shown(arguments: &[&str]) -> String {
    let words = arguments.iter().map(|word| if word.starts_with("pm1.") { "TOKEN" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_a_json_error_is_found() {
        let stderr =
            "remark\n{\"error\":{\"code\":69,\"word\":\"unavailable\",\"message\":\"down\"}}\n";
        assert_eq!(message(stderr), "down");
        assert_eq!(message("thread panicked\n"), "thread panicked");
    }

    #[test]
    fn tokens_are_not_shown() {
        assert_eq!(shown(&["join", "pm1.secret", "--url", "x"]), "join TOKEN --url x");
    }
}
