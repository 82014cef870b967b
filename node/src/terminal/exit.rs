//! The exit codes: the one place that says what they are. The help, the
//! manual and `patchmesh exit-codes` are made from [`Exit::ALL`].
//!
//! Most numbers are those of `sysexits.h`, so that scripts that know them are
//! right about us too.

#[cfg(feature = "server")]
mod node;
pub(crate) mod status;

use std::error::Error as StdError;
use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use tonic::Status;

use super::output::Form;
use crate::agent::{self, inventory};
use crate::identity::{files, join, token};
use crate::tuf::signing;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All was done.
    Success = 0,
    /// What was to be shown does not hold, or nothing below fits.
    Failed = 1,
    /// The mesh, as it is now, does not allow it.
    Refused = 2,
    /// Wrong arguments or configuration.
    Usage = 64,
    /// Input that cannot be right.
    BadData = 65,
    /// Something named is not there.
    NotFound = 66,
    /// The node cannot be reached.
    Unavailable = 69,
    /// A fault of the program.
    Internal = 70,
    /// Something of that name is there already.
    Exists = 73,
    /// A file or folder cannot be read or written.
    Io = 74,
    /// Busy or too slow; the same may work later.
    TryLater = 75,
    /// The caller may not.
    NoPermission = 77,
    /// Ctrl-C.
    Interrupted = 130,
}

impl Exit {
    /// Every code, ascending.
    pub const ALL: [Exit; 13] = [
        Exit::Success,
        Exit::Failed,
        Exit::Refused,
        Exit::Usage,
        Exit::BadData,
        Exit::NotFound,
        Exit::Unavailable,
        Exit::Internal,
        Exit::Exists,
        Exit::Io,
        Exit::TryLater,
        Exit::NoPermission,
        Exit::Interrupted,
    ];

    /// The number that the shell sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// A word for scripts that read JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Exit::Success => "success",
            Exit::Failed => "failed",
            Exit::Refused => "refused",
            Exit::Usage => "usage",
            Exit::BadData => "bad-data",
            Exit::NotFound => "not-found",
            Exit::Unavailable => "unavailable",
            Exit::Internal => "internal",
            Exit::Exists => "exists",
            Exit::Io => "io",
            Exit::TryLater => "try-later",
            Exit::NoPermission => "no-permission",
            Exit::Interrupted => "interrupted",
        }
    }

    /// What it tells a person.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Exit::Success => "All was done",
            Exit::Failed => {
                "What was to be shown does not hold (a damaged blob, sets that differ, a demo that failed), \
                 or the command failed in a way that has no code of its own"
            }
            Exit::Refused => {
                "The mesh as it is now does not allow it, such as promoting what validation has not approved, \
                 or changing anything at a node that is not the primary"
            }
            Exit::Usage => "Wrong arguments, or a configuration that cannot be used",
            Exit::BadData => {
                "Input that cannot be right, such as a mistyped token or a file that is no keyring; a file that is damaged"
            }
            Exit::NotFound => "A revision, node, source, group or file that is not there",
            Exit::Unavailable => "The node cannot be reached; is `patchmesh serve` running?",
            Exit::Internal => "A fault of the program; please report it",
            Exit::Exists => "Something of that name is there already",
            Exit::Io => "A file or folder cannot be read or written",
            Exit::TryLater => "The node is busy or took too long; the same may work later",
            Exit::NoPermission => "The caller may not do this, or is not known",
            Exit::Interrupted => "Stopped with Ctrl-C",
        }
    }

    /// An error that ends the program with this code.
    pub(crate) fn error(self, message: impl Into<String>) -> anyhow::Error {
        Failure { exit: self, message: message.into(), source: None }.into()
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// An error that knows its exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    #[source]
    pub(crate) source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The code for an error: what it says itself, else what its causes are.
#[must_use]
pub(crate) fn of(error: &anyhow::Error) -> Exit {
    error.chain().find_map(of_cause).unwrap_or(Exit::Failed)
}

fn of_cause(cause: &(dyn StdError + 'static)) -> Option<Exit> {
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return Some(failure.exit);
    }
    if cause.is::<crate::log::Error>() {
        return Some(Exit::Usage);
    }
    if cause.is::<token::Error>() {
        return Some(Exit::BadData);
    }
    match cause.downcast_ref() {
        Some(files::Error::Missing(_)) => return Some(Exit::NotFound),
        Some(error) if files::Error::is_damage(error) => return Some(Exit::BadData),
        _ => {}
    }
    if let Some(signing::Error::NotAKeyFile { .. }) = cause.downcast_ref() {
        return Some(Exit::BadData);
    }
    if let Some(join::Error::Joined(_)) = cause.downcast_ref() {
        return Some(Exit::Exists);
    }
    if let Some(
        inventory::Error::Content { .. }
        | inventory::Error::Long { .. }
        | inventory::Error::Lost(_)
        | inventory::Error::NotWhole { .. },
    ) = cause.downcast_ref()
    {
        return Some(Exit::BadData);
    }
    if let Some(exit) = of_agent(cause) {
        return Some(exit);
    }
    #[cfg(feature = "server")]
    if let Some(exit) = node::of_cause(cause) {
        return Some(exit);
    }
    if let Some(status) = status(cause) {
        return Some(status::exit_of(status));
    }
    let error = cause.downcast_ref::<std::io::Error>()?;
    Some(match error.kind() {
        std::io::ErrorKind::NotFound => Exit::NotFound,
        std::io::ErrorKind::PermissionDenied => Exit::NoPermission,
        _ => Exit::Io,
    })
}

fn of_agent(cause: &(dyn StdError + 'static)) -> Option<Exit> {
    use agent::{chain, join, link, round, state};
    let inner = match (cause.downcast_ref(), cause.downcast_ref()) {
        (Some(round::Error::State(error)), _) | (_, Some(join::Error::State(error))) => Some(error),
        _ => cause.downcast_ref::<state::Error>(),
    };
    match inner {
        Some(state::Error::NotJoined(_)) => return Some(Exit::NotFound),
        Some(state::Error::Busy(_)) => return Some(Exit::TryLater),
        Some(state::Error::Damaged { .. } | state::Error::Joining { .. }) => {
            return Some(Exit::BadData);
        }
        _ => {}
    }
    if let Some(round::Error::Chain(error)) = cause.downcast_ref()
        && let chain::Error::Root { .. } = **error
    {
        return Some(Exit::BadData);
    }
    let is_away = matches!(cause.downcast_ref(), Some(link::Error::Unreachable { .. }));
    is_away.then_some(Exit::Unavailable)
}

/// The gRPC status that a cause is, boxed or not.
fn status<'a>(cause: &'a (dyn StdError + 'static)) -> Option<&'a Status> {
    cause
        .downcast_ref::<Status>()
        .or_else(|| cause.downcast_ref::<Box<Status>>().map(AsRef::as_ref))
}

/// An error and its causes on one line. A gRPC status ends it: whoever wrapped
/// one has told it in better words.
fn told(error: &anyhow::Error) -> String {
    let mut causes = error.chain();
    let first = causes.next().map(ToString::to_string).unwrap_or_default();
    let rest = causes.take_while(|cause| status(*cause).is_none());
    rest.fold(first, |text, cause| {
        let next = cause.to_string();
        if text.ends_with(&next) { text } else { format!("{text}: {next}") }
    })
}

#[derive(Serialize)]
struct Report<'a> {
    error: ReportedError<'a>,
}

#[derive(Serialize)]
struct ReportedError<'a> {
    code: u8,
    word: &'a str,
    message: String,
}

/// Tells a person, or a script, what went wrong, on standard error.
pub(crate) fn report(error: &anyhow::Error, form: Form) -> Exit {
    let exit = of(error);
    let message = super::output::clean_lines(&told(error));
    match form {
        Form::Table | Form::Csv => eprintln!("{}: {message}", program()),
        Form::Json => {
            let report =
                Report { error: ReportedError { code: exit.code(), word: exit.word(), message } };
            match serde_json::to_string(&report) {
                Ok(text) => eprintln!("{text}"),
                Err(problem) => eprintln!("{}: {problem}", program()),
            }
        }
    }
    exit
}

/// What it was started as: `patchmesh`, or the agent by itself.
fn program() -> String {
    let first = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&first).file_name().unwrap_or(OsStr::new("patchmesh"));
    super::output::clean_lines(&name.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_words_are_distinct_and_ascend() {
        let codes = Exit::ALL.map(Exit::code);
        assert!(codes.is_sorted_by(|a, b| a < b));
        let words: std::collections::BTreeSet<_> = Exit::ALL.map(Exit::word).into();
        assert_eq!(words.len(), Exit::ALL.len());
    }

    #[test]
    fn a_damaged_file_is_bad_data() {
        let damaged = || files::Error::Binary("key.pem".into());
        let error = anyhow::Error::new(damaged()).context("the identity cannot be used");
        assert_eq!(of(&error), Exit::BadData);
        let error = agent::state::Error::Identity(damaged());
        assert_eq!(of(&agent::round::Error::State(error).into()), Exit::BadData);
        let key = signing::Error::NotAKeyFile { path: "keys/content.pem".into() };
        assert_eq!(of(&key.into()), Exit::BadData);
        let gone = Box::new(crate::tuf::client::Error::NoTrustedRoot);
        let root = agent::chain::Error::Root { path: "tuf/root.json".into(), source: gone };
        let error = anyhow::Error::new(agent::round::Error::Chain(Box::new(root)));
        assert_eq!(of(&error), Exit::BadData);
        assert!(told(&error).starts_with("tuf/root.json is damaged or gone"), "{}", told(&error));
    }

    #[test]
    fn an_error_deep_inside_decides_the_code() {
        let error = anyhow::Error::new(token::Error::Mistyped).context("cannot join");
        assert_eq!(of(&error), Exit::BadData);
        let error = Exit::NotFound.error("no such node").context("cannot revoke");
        assert_eq!(of(&error), Exit::NotFound);
        let error = join::Error::Token(token::Error::Mistyped);
        assert_eq!(of(&error.into()), Exit::BadData);
        let refused = join::Error::Refused {
            why: "the token was used".to_owned(),
            source: Box::new(Status::permission_denied("the token was used")),
        };
        let error = anyhow::Error::new(refused);
        assert_eq!(of(&error), Exit::NoPermission);
        assert_eq!(told(&error), "the mesh refused: the token was used");
        assert_eq!(of(&anyhow::anyhow!("anything")), Exit::Failed);
    }
}
