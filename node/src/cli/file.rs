//! Files that people write for commands: TOML, read whole, with a bound, and
//! with errors that name the line.

use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use patchmesh_topology::rollout::Share;
use patchmesh_topology::rollout::gate::AtMost;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::exit::Exit;
use crate::duration;

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

/// A time to wait, such as `24h`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wait(pub(crate) SignedDuration);

impl FromStr for Wait {
    type Err = duration::Error;

    fn from_str(text: &str) -> Result<Self, duration::Error> {
        let wait = duration::parse(text)?;
        Ok(Self(SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX)))
    }
}

/// What must not be exceeded: a share, a count, or both.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Most {
    #[serde(default)]
    share: Option<Text<Share>>,
    #[serde(default)]
    count: Option<u64>,
    #[serde(default)]
    min_sample: u64,
}

impl Most {
    /// The limit of `place`.
    ///
    /// # Errors
    /// It limits nothing.
    pub(crate) fn limit(self, place: &str) -> Result<AtMost, String> {
        if self.share.is_none() && self.count.is_none() {
            return Err(format!("{place}: max_failed needs a share, a count, or both"));
        }
        let share = self.share.map(|one| one.0);
        Ok(AtMost { share, count: self.count, min_sample: self.min_sample })
    }
}

/// An instant of a file.
///
/// # Errors
/// It has no offset, or is only a date or a time of day.
pub(crate) fn instant(what: &str, time: &toml::value::Datetime) -> Result<Timestamp, String> {
    time.to_string().parse().map_err(|_| {
        format!(
            "{what}: {time} is no instant; write it with its offset, such as 2026-12-01T08:00:00Z"
        )
    })
}

/// A text as such a file has it.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
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
