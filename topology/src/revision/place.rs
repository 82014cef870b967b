//! Where a file of a revision goes on machines, and as whose: for revisions whose files
//! are put in the place of others.

use std::fmt;

/// The longest path, in bytes.
pub const MAX_PATH: usize = 400;

/// The longest step of a path, in bytes: what file systems take.
const MAX_STEP: usize = 255;

/// The longest name of a user or group, in bytes.
const MAX_OWNER: usize = 32;

/// The greatest mode: permissions, set-user-ID, set-group-ID and sticky.
pub const MAX_MODE: u32 = 0o7777;

/// The most files of a revision that are put in place together.
pub const MAX_PLACED: usize = 1_000;

/// The largest of them, in bytes: what machines read to tell whether it is there.
pub const MAX_PLACED_BYTES: u64 = 1 << 30;

/// Where a file goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// From the root of the machine's system, such as `/etc/example/agent.toml`.
    pub path: String,
    /// Its permissions; `None`: those of the file that it replaces, else `0644`.
    pub mode: Option<u32>,
    /// Its user, as name or number; empty: that of the file that it replaces, else root.
    pub owner: String,
    /// Its group, likewise.
    pub group: String,
}

/// What a place cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A path that does not lead to a file below the root, in one way only.
    #[error("path {0:?} does not lead to a file of the machine")]
    Path(String),
    /// Longer than file systems take.
    #[error("path {0:?} has more than {MAX_PATH} bytes, or a step of more than {MAX_STEP}")]
    Long(String),
    /// A mode beyond [`MAX_MODE`].
    #[error("mode {0:o} is more than {MAX_MODE:o}")]
    Mode(u32),
    /// What names neither a user nor a group.
    #[error("{kind} {text:?} names nobody")]
    Owner {
        /// `owner` or `group`.
        kind: &'static str,
        /// What was given.
        text: String,
    },
}

impl Error {
    /// What to write instead.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Path(_) => {
                "write it from / on, without a / at its end and without '.', '..' or control characters"
            }
            Self::Long(_) => "shorten it",
            Self::Mode(_) => "write three or four octal digits in quotes, such as \"0644\"",
            Self::Owner { .. } => "write a name of letters, digits, '.', '_' and '-', or a number",
        }
    }
}

impl Place {
    /// Only a path.
    #[must_use]
    pub fn at(path: &str) -> Self {
        let nobody = String::new;
        Self { path: path.to_owned(), mode: None, owner: nobody(), group: nobody() }
    }

    /// Whether a machine can follow it.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn check(&self) -> Result<(), Error> {
        let Self { path, mode, owner, group } = self;
        let steps = || path.split('/').skip(1);
        let is_odd = |step: &str| matches!(step, "" | "." | "..");
        if !path.starts_with('/') || steps().any(is_odd) || path.chars().any(char::is_control) {
            return Err(Error::Path(path.clone()));
        }
        if path.len() > MAX_PATH || steps().any(|step| step.len() > MAX_STEP) {
            return Err(Error::Long(path.clone()));
        }
        if let Some(mode) = mode.filter(|mode| *mode > MAX_MODE) {
            return Err(Error::Mode(mode));
        }
        for (kind, text) in [("owner", owner), ("group", group)] {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            let is_number = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
            // The greatest number stands for "nobody said" in the system's own call.
            let is_id = text.parse::<u32>().is_ok_and(|id| id < u32::MAX);
            if text.len() > MAX_OWNER
                || !text.chars().all(fits)
                || text.starts_with('-')
                || is_number && !is_id
            {
                return Err(Error::Owner { kind, text: text.clone() });
            }
        }
        Ok(())
    }

    /// As texts in a fixed order, for the fingerprint.
    pub(super) fn texts(&self) -> [String; 4] {
        let Self { path, mode, owner, group } = self;
        let mode = mode.map(|mode| format!("{mode:04o}")).unwrap_or_default();
        [path.clone(), mode, owner.clone(), group.clone()]
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_file_below_the_root_and_somebodys() {
        for good in ["/a", "/etc/example/agent.toml", "/opt/ä b/…", "/a/...", "/.a"] {
            assert_eq!(Place::at(good).check(), Ok(()), "{good}");
        }
        let long = format!("/{}", "a/".repeat(300));
        let step = format!("/{}", "a".repeat(256));
        for bad in ["", "a", "/", "/a/", "//a", "/a//b", "/./a", "/a/..", "/a/../b", "/a\nb", "/\0"]
        {
            assert!(matches!(Place::at(bad).check(), Err(Error::Path(_))), "{bad:?}");
        }
        for bad in [long.trim_end_matches('/'), &step] {
            assert!(matches!(Place::at(bad).check(), Err(Error::Long(_))), "{bad:?}");
        }
        let with =
            |owner: &str, mode| Place { owner: owner.to_owned(), mode, ..Place::at("/a") }.check();
        assert_eq!(with("www-data", Some(0o4755)), Ok(()));
        assert_eq!(with("33", None), Ok(()));
        assert_eq!(with("", Some(0o10000)), Err(Error::Mode(0o10000)));
        for bad in ["a b", "root:root", "-1", "4294967295", "99999999999", &"a".repeat(33)] {
            assert!(matches!(with(bad, None), Err(Error::Owner { kind: "owner", .. })), "{bad}");
        }
    }
}
