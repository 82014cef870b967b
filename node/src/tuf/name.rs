//! Names that travel in TUF metadata and the file names made from them.
//!
//! Role names and target paths are chosen by whoever signs the metadata, so they may hold any character. A role name
//! becomes a file name only in percent-encoded form ([`RoleName::file_stem`]); it can then never leave its folder.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

/// What stays as it is in a file name: RFC 3986 `unreserved`. Other TUF implementations encode the same way.
const FILE_NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~');

/// A name was empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role name or target path must not be empty")]
pub struct Empty;

/// The name of a role: one of the four of the specification or a delegated one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoleName(Cow<'static, str>);

impl RoleName {
    /// Says who holds every other top-level role.
    pub const ROOT: Self = Self(Cow::Borrowed("root"));
    /// Says which snapshot is current.
    pub const TIMESTAMP: Self = Self(Cow::Borrowed("timestamp"));
    /// Says which versions of all targets roles belong together.
    pub const SNAPSHOT: Self = Self(Cow::Borrowed("snapshot"));
    /// Names targets and delegates to other roles.
    pub const TARGETS: Self = Self(Cow::Borrowed("targets"));

    /// Makes a role name of any non-empty text.
    pub fn new(name: impl Into<String>) -> Result<Self, Empty> {
        let name = name.into();
        if name.is_empty() { Err(Empty) } else { Ok(Self(Cow::Owned(name))) }
    }

    /// Makes a role name known at compile time.
    ///
    /// # Panics
    /// At compile time, if the name is empty and the call is in a constant.
    pub const fn from_static(name: &'static str) -> Self {
        assert!(!name.is_empty(), "a role name must not be empty");
        Self(Cow::Borrowed(name))
    }

    /// `PREFIX-SUFFIX`. Never empty, because of the hyphen.
    pub(super) fn joined(prefix: &str, suffix: &str) -> Self {
        Self(Cow::Owned(format!("{prefix}-{suffix}")))
    }

    /// The name as it stands in metadata.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is one of the four roles that the specification names. No delegation may use such a name.
    pub fn is_top_level(&self) -> bool {
        [Self::ROOT, Self::TIMESTAMP, Self::SNAPSHOT, Self::TARGETS].contains(self)
    }

    /// The percent-encoded name, safe as a file name and as a segment of a URL.
    pub fn file_stem(&self) -> String {
        utf8_percent_encode(&self.0, FILE_NAME).to_string()
    }

    /// The name of this role's metadata file: `3.content.json`, or `content.json` without a version.
    pub fn file_name(&self, version: Option<u64>) -> String {
        match version {
            Some(version) => format!("{version}.{}.json", self.file_stem()),
            None => format!("{}.json", self.file_stem()),
        }
    }

    /// The key under which timestamp and snapshot list this role.
    pub fn meta_key(&self) -> String {
        format!("{}.json", self.0)
    }
}

impl TryFrom<String> for RoleName {
    type Error = Empty;

    fn try_from(name: String) -> Result<Self, Empty> {
        Self::new(name)
    }
}

impl From<RoleName> for String {
    fn from(name: RoleName) -> Self {
        name.0.into_owned()
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// The name of a target file: a relative path with `/` between its parts, such as `approvals/production`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TargetPath(String);

impl TargetPath {
    /// Makes a target path of any non-empty text.
    pub fn new(path: impl Into<String>) -> Result<Self, Empty> {
        let path = path.into();
        if path.is_empty() { Err(Empty) } else { Ok(Self(path)) }
    }

    /// The path as it stands in metadata.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path under which a repository with consistent snapshots stores the file whose digest is `digest`:
    /// `approvals/DIGEST.production`.
    pub fn with_digest(&self, digest: &str) -> String {
        match self.0.rsplit_once('/') {
            Some((folder, name)) => format!("{folder}/{digest}.{name}"),
            None => format!("{digest}.{}", self.0),
        }
    }

    /// The whole path percent-encoded into one file name.
    pub fn file_stem(&self) -> String {
        utf8_percent_encode(&self.0, FILE_NAME).to_string()
    }
}

impl TryFrom<String> for TargetPath {
    type Error = Empty;

    fn try_from(path: String) -> Result<Self, Empty> {
        Self::new(path)
    }
}

impl From<TargetPath> for String {
    fn from(path: TargetPath) -> Self {
        path.0
    }
}

impl fmt::Display for TargetPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TargetPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_name_cannot_leave_its_folder() {
        let role = RoleName::new("../a/b?#").unwrap();
        assert_eq!(role.file_name(Some(4)), "4...%2Fa%2Fb%3F%23.json");
        assert_eq!(role.file_name(None), "..%2Fa%2Fb%3F%23.json");
        assert_eq!(role.meta_key(), "../a/b?#.json");
    }

    #[test]
    fn the_digest_goes_before_the_last_part() {
        assert_eq!(TargetPath::new("a/b/c").unwrap().with_digest("f0"), "a/b/f0.c");
        assert_eq!(TargetPath::new("c").unwrap().with_digest("f0"), "f0.c");
    }
}
