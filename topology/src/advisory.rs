//! Internal advisories: what headquarters tells every branch about a flaw,
//! how it is exploited and found, what helps meanwhile and what the update
//! breaks.
//!
//! An advisory that was published is never edited. Publishing the same name
//! again makes its next version; the versions before it stay readable.
//! Withdrawing says why and keeps all of them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::assessment::CveId;
use crate::name::AdvisoryName;
use crate::revision::{DocumentRef, Reference, Severity};

/// The most advisories of a mesh: two a day for more than ten years.
pub const MAX_ADVISORIES: usize = 10_000;
/// The most versions of one.
pub const MAX_VERSIONS: usize = 100;
/// The longest title, in bytes.
pub const MAX_TITLE: usize = 200;
/// The longest text of a field, in bytes.
pub const MAX_TEXT: usize = 20_000;
/// The most entries of a list.
pub const MAX_ENTRIES: usize = 200;

/// What is said of one flaw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advisory {
    /// Its name.
    pub name: AdvisoryName,
    /// 1 for what was published first.
    pub version: u32,
    /// One line.
    pub title: String,
    /// How bad it is for the company.
    pub severity: Option<Severity>,
    /// What mends it.
    pub updates: BTreeSet<Reference>,
    /// The vulnerabilities.
    pub cves: BTreeSet<CveId>,
    /// The flaw.
    pub flaw: String,
    /// Whether exploits are to be had, and used.
    pub exploits: String,
    /// What finds machines that have the flaw.
    pub scanners: Vec<String>,
    /// What helps until the update is installed.
    pub workarounds: Vec<String>,
    /// What the update is known to break.
    pub side_effects: Vec<String>,
    /// Who published this version.
    pub author: String,
    /// When.
    pub published_at: Timestamp,
}

/// Why an advisory can't be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A field that has to be filled in.
    #[error("`{0}` is empty; say it, or say that it is not known")]
    Empty(&'static str),
    /// A text that is too long.
    #[error("`{field}` has {length} bytes; at most {limit} are taken")]
    Long {
        /// The field.
        field: &'static str,
        /// Its length.
        length: usize,
        /// The most bytes.
        limit: usize,
    },
    /// A list that is too long.
    #[error("`{field}` has {count} entries; at most {MAX_ENTRIES} are taken")]
    Many {
        /// The field.
        field: &'static str,
        /// How many.
        count: usize,
    },
    /// A title of several lines.
    #[error("`title` has more than one line")]
    Lines,
    /// Nothing that it is about.
    #[error("neither `updates` nor `cves` says what it is about")]
    Nothing,
}

impl Advisory {
    /// Everything that keeps it from being published.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let lists = [
            ("scanners", &self.scanners),
            ("workarounds", &self.workarounds),
            ("side_effects", &self.side_effects),
        ];
        let texts = [
            ("title", &self.title, MAX_TITLE),
            ("flaw", &self.flaw, MAX_TEXT),
            ("exploits", &self.exploits, MAX_TEXT),
        ];
        for (field, text, limit) in texts {
            if text.trim().is_empty() {
                faults.push(Fault::Empty(field));
            }
            if text.len() > limit {
                faults.push(Fault::Long { field, length: text.len(), limit });
            }
        }
        if self.title.contains(['\n', '\r']) {
            faults.push(Fault::Lines);
        }
        let counts = [("updates", self.updates.len()), ("cves", self.cves.len())];
        let counts = counts.into_iter().chain(lists.map(|(field, list)| (field, list.len())));
        for (field, count) in counts.filter(|(_, count)| *count > MAX_ENTRIES) {
            faults.push(Fault::Many { field, count });
        }
        for (field, list) in lists {
            let entry = list.iter().find(|entry| entry.len() > MAX_TEXT);
            faults.extend(entry.map(|entry| Fault::Long {
                field,
                length: entry.len(),
                limit: MAX_TEXT,
            }));
            if list.iter().any(|entry| entry.trim().is_empty()) {
                faults.push(Fault::Empty(field));
            }
        }
        if self.updates.is_empty() && self.cves.is_empty() {
            faults.push(Fault::Nothing);
        }
        faults
    }
}

/// Why and by whom an advisory was withdrawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why; never empty.
    pub comment: String,
}

/// One advisory with its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The title of the latest version.
    pub title: String,
    /// The severity of the latest version.
    pub severity: Option<Severity>,
    /// When the latest version was published.
    pub published_at: Timestamp,
    /// The document of every version, the first one first; never empty.
    pub versions: Vec<DocumentRef>,
    /// Set while it is withdrawn.
    pub withdrawn: Option<Withdrawal>,
}

/// Every advisory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AdvisorySet {
    /// Grows by one with every change.
    pub version: u64,
    /// By name.
    pub entries: BTreeMap<AdvisoryName, Entry>,
}

/// Why the advisories stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No such advisory.
    #[error("there is no advisory {0}; `patchmesh advisory list` shows those there are")]
    Unknown(AdvisoryName),
    /// It is withdrawn already.
    #[error("advisory {0} is withdrawn already; publish it again to bring it back")]
    Withdrawn(AdvisoryName),
    /// No reason was given.
    #[error("say why with a comment of at most {MAX_TITLE} bytes")]
    Comment,
    /// Too many advisories.
    #[error("there are {MAX_ADVISORIES} advisories already")]
    Full,
    /// Too many versions.
    #[error("advisory {0} has {MAX_VERSIONS} versions already; publish it under another name")]
    Versions(AdvisoryName),
}

impl AdvisorySet {
    /// The version that publishing `name` makes.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn next_version(&self, name: &AdvisoryName) -> Result<u32, Rejection> {
        match self.entries.get(name) {
            None if self.entries.len() >= MAX_ADVISORIES => Err(Rejection::Full),
            None => Ok(1),
            Some(entry) if entry.versions.len() >= MAX_VERSIONS => {
                Err(Rejection::Versions(name.clone()))
            }
            // Below `MAX_VERSIONS`, so it fits.
            Some(entry) => Ok(entry.versions.len() as u32 + 1),
        }
    }

    /// Takes in `advisory`, stored as `document`. Its version is the one that
    /// [`AdvisorySet::next_version`] said.
    pub fn publish(&mut self, advisory: &Advisory, document: DocumentRef) {
        let mut versions = match self.entries.remove(&advisory.name) {
            Some(entry) => entry.versions,
            None => Vec::new(),
        };
        versions.push(document);
        let entry = Entry {
            title: advisory.title.clone(),
            severity: advisory.severity,
            published_at: advisory.published_at,
            versions,
            withdrawn: None,
        };
        self.entries.insert(advisory.name.clone(), entry);
        self.version += 1;
    }

    /// Withdraws an advisory.
    ///
    /// # Errors
    /// Why not.
    pub fn withdraw(
        &mut self,
        name: &AdvisoryName,
        withdrawal: Withdrawal,
    ) -> Result<(), Rejection> {
        let is_comment =
            !withdrawal.comment.trim().is_empty() && withdrawal.comment.len() <= MAX_TITLE;
        let entry = self.entries.get_mut(name).ok_or_else(|| Rejection::Unknown(name.clone()))?;
        if entry.withdrawn.is_some() {
            return Err(Rejection::Withdrawn(name.clone()));
        }
        if !is_comment {
            return Err(Rejection::Comment);
        }
        entry.withdrawn = Some(withdrawal);
        self.version += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn advisory(title: &str) -> Advisory {
        Advisory {
            name: "openssl".parse().expect("a name"),
            version: 1,
            title: title.to_owned(),
            severity: Some(Severity::Critical),
            updates: BTreeSet::new(),
            cves: [CveId::new(2024, 1234).expect("a CVE")].into(),
            flaw: "a length is not checked".to_owned(),
            exploits: "none known".to_owned(),
            scanners: Vec::new(),
            workarounds: Vec::new(),
            side_effects: Vec::new(),
            author: "ada".to_owned(),
            published_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn document(number: u8) -> DocumentRef {
        DocumentRef { digest: Digest::of(&[number]), length: 1 }
    }

    fn withdrawal(comment: &str) -> Withdrawal {
        let (by, at) = ("ada".to_owned(), Timestamp::UNIX_EPOCH);
        Withdrawal { by, at, comment: comment.to_owned() }
    }

    #[test]
    fn every_fault_is_named() {
        assert_eq!(advisory("openssl").faults(), []);
        let mut wrong = advisory("two\nlines");
        wrong.flaw = " ".to_owned();
        wrong.exploits = "x".repeat(MAX_TEXT + 1);
        wrong.cves.clear();
        wrong.workarounds = vec![String::new(); MAX_ENTRIES + 1];
        let faults: Vec<_> = wrong.faults().iter().map(ToString::to_string).collect();
        let said = |text: &str| faults.iter().any(|fault| fault.contains(text));
        for text in ["`flaw` is empty", "`exploits` has", "one line", "neither", "201 entries"] {
            assert!(said(text), "{text}: {faults:?}");
        }
    }

    #[test]
    fn publishing_again_makes_a_version_and_keeps_the_one_before() {
        let mut set = AdvisorySet::default();
        let first = advisory("first");
        assert_eq!(set.next_version(&first.name), Ok(1));
        set.publish(&first, document(1));
        assert_eq!(set.next_version(&first.name), Ok(2));
        set.publish(&advisory("second"), document(2));
        let entry = &set.entries[&first.name];
        assert_eq!(entry.versions, [document(1), document(2)]);
        assert_eq!((entry.title.as_str(), set.version), ("second", 2));
    }

    #[test]
    fn withdrawing_says_why_once_and_publishing_brings_back() {
        let mut set = AdvisorySet::default();
        let one = advisory("one");
        let unknown = set.withdraw(&one.name, withdrawal("wrong"));
        assert_eq!(unknown, Err(Rejection::Unknown(one.name.clone())));
        set.publish(&one, document(1));
        assert_eq!(set.withdraw(&one.name, withdrawal(" ")), Err(Rejection::Comment));
        assert_eq!(set.withdraw(&one.name, withdrawal("wrong")), Ok(()));
        let again = set.withdraw(&one.name, withdrawal("wrong"));
        assert_eq!(again, Err(Rejection::Withdrawn(one.name.clone())));
        set.publish(&one, document(2));
        assert_eq!(set.entries[&one.name].withdrawn, None);
    }
}
