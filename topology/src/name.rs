//! Names: nodes, machines, groups, sources, rollouts, freezes, exceptions,
//! brakes, users, baselines, rules, platforms and sites.
//!
//! A name has 1 to 63 lower-case letters, digits, `-`, `_` or `.`, and begins
//! with a letter or digit, so that it can stand in a path, a URL, a DNS label
//! and a file name without escaping. A site is a path of such names.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest name, in characters.
pub const MAX_NAME: usize = 63;

/// The most steps that a site path has.
pub const MAX_SITE_DEPTH: usize = 16;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing was given.
    #[error("a {kind} name cannot be empty")]
    Empty {
        /// What was to be named.
        kind: &'static str,
    },
    /// Too many characters.
    #[error("{kind} name {text:?} has more than {MAX_NAME} characters")]
    Long {
        /// What was to be named.
        kind: &'static str,
        /// The text given.
        text: String,
    },
    /// A character that names do not have.
    #[error(
        "{kind} name {text:?} has {character:?}; use lower-case letters, digits, '-', '_' and '.', beginning with a letter or digit"
    )]
    Character {
        /// What was to be named.
        kind: &'static str,
        /// The text given.
        text: String,
        /// The first character at fault.
        character: char,
    },
    /// A site path with too many steps.
    #[error("site {0:?} has more than {MAX_SITE_DEPTH} steps")]
    Deep(String),
}

fn check(kind: &'static str, text: &str) -> Result<(), Error> {
    let Some(first) = text.chars().next() else {
        return Err(Error::Empty { kind });
    };
    if text.chars().count() > MAX_NAME {
        return Err(Error::Long { kind, text: text.to_owned() });
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fault = if plain(first) {
        text.chars().find(|&c| !plain(c) && !matches!(c, '-' | '_' | '.'))
    } else {
        Some(first)
    };
    match fault {
        Some(character) => Err(Error::Character { kind, text: text.to_owned(), character }),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                check($kind, text).map(|()| Self(text.into()))
            }
        }
    };
}

name! {
    /// A node's name, unique in the mesh.
    NodeName, "node"
}
name! {
    /// A group of machines, such as `workstations`.
    GroupName, "group"
}
name! {
    /// A source of updates, such as `debian-security`.
    SourceName, "source"
}
name! {
    /// A feed of what is known of vulnerabilities, such as `cisa-kev`.
    FeedName, "feed"
}
name! {
    /// An internal advisory, such as `2026-014-openssl`.
    AdvisoryName, "advisory"
}
name! {
    /// A rollout, such as `default-production`.
    RolloutName, "rollout"
}
name! {
    /// A site's brake, such as `stocktaking`.
    BrakeName, "brake"
}
name! {
    /// A time in which nothing opens, such as `year-end`.
    FreezeName, "freeze"
}
name! {
    /// A group of sites, such as `big-plants`.
    SiteGroupName, "group of sites"
}
name! {
    /// An exception, such as `till-2016`.
    ExceptionName, "exception"
}
name! {
    /// A person or program with a certificate of its own, such as `admin`.
    UserName, "user"
}

name! {
    /// A machine that installs updates and reports, such as `w10-0815`.
    MachineName, "machine"
}
name! {
    /// A baseline: what the machines of a group have, such as `bookworm`.
    BaselineName, "baseline"
}
name! {
    /// A rule that approves by itself, such as `critical-fast`.
    RuleName, "rule"
}
name! {
    /// What the lab tries updates on, such as `windows-2022-exchange`.
    PlatformName, "platform"
}

impl GroupName {
    /// Comes before every name: the start of a range over sorted names.
    pub(crate) fn least() -> Self {
        Self(Arc::default())
    }
}

impl RolloutName {
    /// The rollout that opens a stage's approvals everywhere at once:
    /// `default-STAGE`.
    #[must_use]
    pub fn default_for(stage: crate::node::Stage) -> Self {
        // A stage's word has only letters, so this is a name.
        Self(format!("default-{stage}").into())
    }
}

/// Where a node or machine is: a path of names such as `emea/fr/paris`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site(String);

impl Site {
    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this site is `geography` or lies below it.
    #[must_use]
    pub fn is_within(&self, geography: &Site) -> bool {
        self.0
            .strip_prefix(geography.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The site that this one is a part of, such as `emea/fr` of `emea/fr/paris`;
    /// none of the topmost.
    #[must_use]
    pub fn enclosing(&self) -> Option<Site> {
        self.0.rsplit_once('/').map(|(above, _)| Self(above.to_owned()))
    }

    /// Whether it lies in one of these geographies; none means everywhere.
    #[must_use]
    pub fn is_in(&self, geographies: &[Site]) -> bool {
        geographies.is_empty() || geographies.iter().any(|place| self.is_within(place))
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for Site {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        for (index, step) in text.split('/').enumerate() {
            if index == MAX_SITE_DEPTH {
                return Err(Error::Deep(text.to_owned()));
            }
            check("site", step)?;
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_plain_and_refuses_the_rest() {
        assert!("lyon-2.example".parse::<NodeName>().is_ok());
        for text in ["", "Lyon", "-x", "a/b", "é", &"x".repeat(64)] {
            assert!(text.parse::<NodeName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_site_lies_within_its_geography_by_whole_steps() {
        let paris: Site = "emea/fr/paris".parse().expect("a site");
        let within = |text: &str| paris.is_within(&text.parse().expect("a site"));
        assert!(within("emea") && within("emea/fr") && within("emea/fr/paris"));
        assert!(!within("emea/f") && !within("emea/fr/paris/5e") && !within("apac"));
        assert!("emea//fr".parse::<Site>().is_err());
        assert!("/emea".parse::<Site>().is_err());
    }
}
