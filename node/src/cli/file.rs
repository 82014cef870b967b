//! Files that people write for commands: TOML, read whole, with a bound, and
//! with errors that name the line.

use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::exit::Exit;

/// The longest file.
const MAX_FILE: u64 = 4 << 20;

/// A value that is written as a text, such as a name or a share.
#[derive(Debug, Clone)]
pub(crate) struct Text<T>(pub(crate) T);

impl<'de, T> Deserialize<'de> for Text<T>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// Reads a file's text.
///
/// # Errors
/// It cannot be read, or is longer than any such file.
pub(crate) fn text(path: &Path) -> anyhow::Result<String> {
    let problem = || format!("cannot read {}", path.display());
    let file = std::fs::File::open(path).with_context(problem)?;
    let mut text = String::new();
    file.take(MAX_FILE + 1).read_to_string(&mut text).with_context(problem)?;
    if text.len() as u64 > MAX_FILE {
        let problem = format!("{} has more than {MAX_FILE} bytes", path.display());
        return Err(Exit::BadData.error(problem));
    }
    Ok(text)
}

/// Reads a file and what it says.
///
/// # Errors
/// As for [`text`], or what is wrong and in which line.
pub(crate) fn read<T>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> anyhow::Result<T> {
    let text = text(path)?;
    parse(&text).map_err(|problem| Exit::BadData.error(format!("{}: {problem}", path.display())))
}

/// The fields of a text.
///
/// # Errors
/// What is wrong, and in which line.
pub(crate) fn fields<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| {
        let place = error.span().map(|span| format!("line {}: ", line(text, span.start)));
        format!("{}{}", place.unwrap_or_default(), error.message())
    })
}

/// The line of a place, counted from 1.
pub(crate) fn line(text: &str, place: usize) -> usize {
    text.as_bytes().iter().take(place).filter(|byte| **byte == b'\n').count() + 1
}
