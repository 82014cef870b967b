//! Status of clients of the predecessor: `GET /wutrack.bin?V=1&U=…`.
//!
//! Anybody can send such a line under any name, and nobody signed it. So it is shown
//! and never counted: nothing in this crate that counts machines or judges a wave
//! reads this module. [`log`] finds the lines in old web logs, [`book`] keeps a
//! bounded number of them, [`rate`] says who sends too many.

use std::fmt;

pub mod book;
pub mod log;
pub mod rate;

/// The path, whatever its case.
pub const PATH: &str = "/wutrack.bin";

/// Bytes of a query. Such clients send some 300.
pub const MAX_QUERY: usize = 1024;

/// What a client says of itself, each text as it was sent, at most
/// [`MAX_QUERY`] bytes; empty where it says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// `U`: the ping id, which such a client draws once and keeps. Never empty.
    pub ping: String,
    /// `C`: which client, such as `au`.
    pub client: String,
    /// `A`: what it was doing.
    pub activity: Activity,
    /// `I`: the item.
    pub item: String,
    /// `D`: the device.
    pub device: String,
    /// `P`: the platform.
    pub platform: String,
    /// `L`: the language.
    pub language: String,
    /// `S`: how it went.
    pub outcome: Outcome,
    /// `E`: the error's number; 0 where there is none.
    pub error: u32,
    /// `M`: for people.
    pub message: String,
    /// `X`: the proxy.
    pub proxy: String,
}

/// What a client was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Activity {
    /// `n`: it starts.
    Init,
    /// `s`: it brings itself up to date.
    SelfUpdate,
    /// `d`: it looks for what it needs.
    Detection,
    /// `w`: it downloads.
    Download,
    /// `i`: it installs.
    Installation,
    /// Another letter, whose meaning is not known.
    Other(char),
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// `s`.
    Success,
    /// `r`: it succeeded and needs a restart.
    RebootRequired,
    /// `f`.
    Failure,
    /// `c`: the user cancelled it.
    Cancelled,
    /// `d`: the user declined it.
    Declined,
    /// `n`: there was nothing to do.
    NoItems,
    /// `p`.
    Pending,
}

/// Why a query is no status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too long.
    #[error("the query has more than {MAX_QUERY} bytes")]
    TooLong,
    /// A percent sign that stands for nothing.
    #[error("field {0}: a '%' is not followed by two hexadecimal digits")]
    Escape(&'static str),
    /// One that has to be there.
    #[error("there is no field {0}")]
    Missing(&'static str),
    /// The same twice.
    #[error("field {0} stands there twice")]
    Twice(&'static str),
    /// A value that means nothing.
    #[error("field {field} is {value:?}; it has to be {expected}")]
    Value {
        /// The field.
        field: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
}

/// The fields that mean something here.
const FIELDS: [&str; 12] = ["V", "U", "C", "A", "I", "D", "P", "L", "S", "E", "M", "X"];

impl Status {
    /// Reads a query as it stands in the request line. Fields of other names mean
    /// nothing here. What would garble a terminal becomes a space, and what is not
    /// UTF-8 the replacement character: such clients can be taught no better.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn parse(query: &str) -> Result<Self, Error> {
        if query.len() > MAX_QUERY {
            return Err(Error::TooLong);
        }
        let mut values: [Option<String>; FIELDS.len()] = Default::default();
        for part in query.split('&') {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let at = FIELDS.iter().position(|field| field.eq_ignore_ascii_case(name));
            let Some(at) = at else { continue };
            let value = decode(value).ok_or(Error::Escape(FIELDS[at]))?;
            if values[at].replace(value).is_some() {
                return Err(Error::Twice(FIELDS[at]));
            }
        }
        let [
            version,
            ping,
            client,
            activity,
            item,
            device,
            platform,
            language,
            outcome,
            error,
            message,
            proxy,
        ] = values;
        let version = version.ok_or(Error::Missing("V"))?;
        if version != "1" {
            return Err(Error::Value { field: "V", value: version, expected: "1" });
        }
        let ping = ping.filter(|ping| !ping.trim().is_empty()).ok_or(Error::Missing("U"))?;
        Ok(Self {
            ping,
            client: client.unwrap_or_default(),
            activity: activity_of(activity.ok_or(Error::Missing("A"))?)?,
            item: item.unwrap_or_default(),
            device: device.unwrap_or_default(),
            platform: platform.unwrap_or_default(),
            language: language.unwrap_or_default(),
            outcome: outcome_of(outcome.ok_or(Error::Missing("S"))?)?,
            error: error_of(error.unwrap_or_default())?,
            message: message.unwrap_or_default(),
            proxy: proxy.unwrap_or_default(),
        })
    }
}

fn activity_of(value: String) -> Result<Activity, Error> {
    let mut letters = value.chars();
    match (letters.next().map(|letter| letter.to_ascii_lowercase()), letters.next()) {
        (Some('n'), None) => Ok(Activity::Init),
        (Some('s'), None) => Ok(Activity::SelfUpdate),
        (Some('d'), None) => Ok(Activity::Detection),
        (Some('w'), None) => Ok(Activity::Download),
        (Some('i'), None) => Ok(Activity::Installation),
        (Some(letter), None) if letter.is_ascii_alphanumeric() => Ok(Activity::Other(letter)),
        _ => Err(Error::Value { field: "A", value, expected: "one letter" }),
    }
}

fn outcome_of(value: String) -> Result<Outcome, Error> {
    match value.to_ascii_lowercase().as_str() {
        "s" => Ok(Outcome::Success),
        "r" => Ok(Outcome::RebootRequired),
        "f" => Ok(Outcome::Failure),
        "c" => Ok(Outcome::Cancelled),
        "d" => Ok(Outcome::Declined),
        "n" => Ok(Outcome::NoItems),
        "p" => Ok(Outcome::Pending),
        _ => Err(Error::Value { field: "S", value, expected: "s, r, f, c, d, n or p" }),
    }
}

fn error_of(value: String) -> Result<u32, Error> {
    let digits = value.strip_prefix("0x").or(value.strip_prefix("0X")).unwrap_or(&value);
    if value.is_empty() {
        return Ok(0);
    }
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u32::from_str_radix(digits, 16).ok().filter(|_| is_plain);
    number.ok_or(Error::Value { field: "E", value, expected: "up to 8 hexadecimal digits" })
}

/// A value as it was before it became part of a query; `None` for half an escape.
fn decode(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            byte => byte,
        });
    }
    let text = String::from_utf8_lossy(&bytes);
    Some(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Init => f.pad("init"),
            Self::SelfUpdate => f.pad("self-update"),
            Self::Detection => f.pad("detection"),
            Self::Download => f.pad("download"),
            Self::Installation => f.pad("installation"),
            Self::Other(letter) => write!(f, "other ({letter})"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Success => "success",
            Self::RebootRequired => "reboot-required",
            Self::Failure => "failure",
            Self::Cancelled => "cancelled",
            Self::Declined => "declined",
            Self::NoItems => "no-items",
            Self::Pending => "pending",
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
