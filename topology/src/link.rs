//! Lines between nodes: what may pass, how fast, and what goes first.
//!
//! A line is that between a node and those above it, and it belongs to the node
//! below. Its [`profile`] says what it may carry and when; [`queue`] decides who
//! goes next on all lines of a node.

pub mod arrival;
pub mod bucket;
pub mod gauge;
pub mod hours;
pub mod mesh;
pub mod profile;
pub mod queue;
pub mod rate;
pub mod zone;

use std::fmt;
use std::str::FromStr;

use crate::node::UnknownWord;

/// How urgent traffic between nodes is. What is more urgent passes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Documents, metadata, reports: what a decision travels with.
    Control,
    /// Payloads of what can't wait.
    Critical,
    /// Payloads that somebody waits for, and whatever is not told otherwise.
    Normal,
    /// Payloads for later: they take what others leave.
    Background,
}

impl Class {
    /// All classes, the most urgent first.
    pub const ALL: [Self; 4] = [Self::Control, Self::Critical, Self::Normal, Self::Background];

    /// The word used in commands, documents and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Critical => "critical",
            Self::Normal => "normal",
            Self::Background => "background",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Class {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|class| class.as_str() == text).ok_or_else(|| UnknownWord {
            kind: "class of traffic",
            text: text.to_owned(),
            allowed: "control, critical, normal or background",
        })
    }
}
