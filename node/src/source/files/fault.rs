//! What is wrong with a manifest, where, and what to do about it.

use std::fmt;

use super::MANIFEST;

/// The most faults told; who has more repeats the same one.
const MAX_FAULTS: usize = 200;

/// How many faults a single line of an error tells.
const IN_ONE_LINE: usize = 5;

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Counted from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl Fault {
    /// A fault at a line.
    pub(super) fn new(line: usize, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { line, what: what.into(), remedy: remedy.into() }
    }
}

/// `manifest.toml:LINE: WHAT; REMEDY`
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, what, remedy } = self;
        match line {
            0 => write!(f, "{MANIFEST}: {what}; {remedy}"),
            _ => write!(f, "{MANIFEST}:{line}: {what}; {remedy}"),
        }
    }
}

/// Faults in order of lines, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn new(mut faults: Vec<Fault>) -> Self {
        faults.sort();
        faults.dedup();
        if faults.len() > MAX_FAULTS {
            let more = faults.len() - MAX_FAULTS;
            faults.truncate(MAX_FAULTS);
            faults.push(Fault::new(usize::MAX, format!("{more} more faults"), "mend these first"));
        }
        Self(faults)
    }

    pub(super) fn one(line: usize, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self(vec![Fault::new(line, what, remedy)])
    }

    /// Them, in order of lines.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }

    /// Them, one by one.
    #[must_use]
    pub fn into_list(self) -> Vec<Fault> {
        self.0
    }
}

/// The first few in one line; `source check` tells all of them.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("a fault: ")?,
            count => write!(f, "{count} faults: ")?,
        }
        for (index, fault) in self.0.iter().take(IN_ONE_LINE).enumerate() {
            let between = if index == 0 { "" } else { "; " };
            write!(f, "{between}{fault}")?;
        }
        if self.0.len() > IN_ONE_LINE {
            f.write_str("; `patchmesh source check FOLDER` tells all of them")?;
        }
        Ok(())
    }
}
