//! The exit codes: the one place that says what they are. The help, the
//! manual and `patchmesh exit-codes` are made from [`Exit::ALL`].
//!
//! Most numbers are those of `sysexits.h`, so that scripts that know them are
//! right about us too.

use std::process::ExitCode;

use serde::Serialize;

use super::output::Form;

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
                "Input that cannot be right, such as a mistyped token or a file that is no keyring"
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
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.exit;
        }
        if cause.is::<crate::config::Error>() || cause.is::<crate::log::Error>() {
            return Exit::Usage;
        }
        if let Some(error) = cause.downcast_ref::<std::io::Error>() {
            return match error.kind() {
                std::io::ErrorKind::NotFound => Exit::NotFound,
                std::io::ErrorKind::PermissionDenied => Exit::NoPermission,
                _ => Exit::Io,
            };
        }
    }
    Exit::Failed
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
    let message = error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
    let message = super::output::clean_lines(&message);
    match form {
        Form::Table => eprintln!("patchmesh: {message}"),
        Form::Json => {
            let report =
                Report { error: ReportedError { code: exit.code(), word: exit.word(), message } };
            match serde_json::to_string(&report) {
                Ok(text) => eprintln!("{text}"),
                Err(problem) => eprintln!("patchmesh: {problem}"),
            }
        }
    }
    exit
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
    fn an_error_deep_inside_decides_the_code() {
        let config = crate::config::Error::Absent("x.toml".into());
        let error = anyhow::Error::new(config).context("cannot serve");
        assert_eq!(of(&error), Exit::Usage);
        let error = Exit::NotFound.error("no such node").context("cannot revoke");
        assert_eq!(of(&error), Exit::NotFound);
        assert_eq!(of(&anyhow::anyhow!("anything")), Exit::Failed);
    }
}
