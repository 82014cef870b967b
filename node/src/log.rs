//! Where the program's own log goes: standard error, as text or as one JSON
//! object a line. Results of commands never pass through here.

use std::fmt;
use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;

/// An error and all its sources in one line.
#[must_use]
pub fn in_one_line(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        // Some libraries repeat their sources; we say nothing twice.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

impl Format {
    /// The word used in options and files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::Json => "json",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [Format::Text, Format::Json]
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or_else(|| Error::Format(text.to_owned()))
    }
}

/// What is logged: a checked filter such as `info,patchmesh::source=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(String);

impl Filter {
    /// Only what a person should look at, for commands that end by themselves.
    #[must_use]
    pub fn warnings() -> Self {
        Self("warn".to_owned())
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match EnvFilter::builder().parse(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(source) => Err(Error::Filter { text: text.to_owned(), source }),
        }
    }
}

/// Why the log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The word names no format.
    #[error("{0:?} is not a log format; use text or json")]
    Format(String),
    /// The text is not a filter.
    #[error("{text:?} is not a log filter; write LEVEL or MODULE=LEVEL, separated by commas")]
    Filter {
        /// The text given.
        text: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// A log was set up before.
    #[error("a log is set up already")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// Starts the log of this process. Only the first call in a process succeeds.
pub fn start(format: Format, filter: &Filter) -> Result<(), Error> {
    use tracing_subscriber::util::SubscriberInitExt;

    let filter = EnvFilter::builder()
        .parse(&filter.0)
        .map_err(|source| Error::Filter { text: filter.0.clone(), source })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        Format::Text => builder.finish().try_init(),
        Format::Json => builder.json().flatten_event(true).finish().try_init(),
    }
    .map_err(Error::Twice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_and_formats_are_checked_when_read() {
        assert!("info,patchmesh::source=debug".parse::<Filter>().is_ok());
        assert!("patchmesh=loud".parse::<Filter>().is_err());
        assert!("json".parse::<Format>().is_ok());
        assert!("xml".parse::<Format>().is_err());
    }
}
