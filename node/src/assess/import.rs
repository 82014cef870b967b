//! Files of one feed on their way in: read one by one, and counted only when
//! all of them were read.

use std::collections::BTreeMap;

use patchmesh_proto::admin as wire;
use patchmesh_topology::assessment::knowledge::Likelihoods;
use patchmesh_topology::assessment::{CveId, Exploited};

use super::osv::Dated;
use super::{Error, csaf, epss, kev, osv};

/// The most advisories that are kept: those of some distributions together.
pub const MAX_STATEMENTS: usize = 500_000;

/// What the files of a feed are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Known exploited vulnerabilities.
    Kev,
    /// Likelihoods of exploitation.
    Epss,
    /// Vendors' advisories.
    Csaf,
    /// Distributions' advisories.
    Osv,
}

impl Kind {
    /// From a number of the wire; `None` for what is no kind.
    #[must_use]
    pub fn of(kind: i32) -> Option<Self> {
        match wire::FeedKind::try_from(kind).ok()? {
            wire::FeedKind::Unspecified => None,
            wire::FeedKind::Kev => Some(Self::Kev),
            wire::FeedKind::Epss => Some(Self::Epss),
            wire::FeedKind::Csaf => Some(Self::Csaf),
            wire::FeedKind::Osv => Some(Self::Osv),
        }
    }

    /// For the wire.
    #[must_use]
    pub const fn to_wire(self) -> wire::FeedKind {
        match self {
            Self::Kev => wire::FeedKind::Kev,
            Self::Epss => wire::FeedKind::Epss,
            Self::Csaf => wire::FeedKind::Csaf,
            Self::Osv => wire::FeedKind::Osv,
        }
    }

    /// The word used in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kev => "kev",
            Self::Epss => "epss",
            Self::Csaf => "csaf",
            Self::Osv => "osv",
        }
    }
}

/// What the files of a feed say.
#[derive(Debug)]
pub enum Content {
    /// All that is known to be exploited.
    Kev(BTreeMap<CveId, Exploited>),
    /// All likelihoods of a day.
    Epss(Likelihoods),
    /// Some advisories.
    Statements(Vec<Dated>),
}

impl Content {
    /// How many entries were read.
    #[must_use]
    pub fn entries(&self) -> u64 {
        let entries = match self {
            Self::Kev(known) => known.len(),
            Self::Epss(likelihoods) => likelihoods.rows.len(),
            Self::Statements(statements) => statements.len(),
        };
        entries as u64
    }
}

/// Why files aren't taken in.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// A file is wrong.
    #[error("{file} is not taken; nothing has changed")]
    File {
        /// Its name.
        file: String,
        /// What is wrong with it.
        source: Error,
    },
    /// No file.
    #[error("no file was given; nothing has changed")]
    None,
    /// Several files of a feed that has one.
    #[error("a feed of kind {0} has one file, and several were given; nothing has changed")]
    Several(&'static str),
    /// More advisories than are kept.
    #[error("more than {MAX_STATEMENTS} advisories were given; nothing has changed")]
    Many,
}

/// Collects files.
#[derive(Debug)]
pub struct Collector {
    kind: Kind,
    content: Option<Content>,
}

impl Collector {
    /// For files of `kind`.
    #[must_use]
    pub const fn new(kind: Kind) -> Self {
        Self { kind, content: None }
    }

    /// Reads a file whole. Takes time.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), Refused> {
        let wrong = |source| Refused::File { file: name.to_owned(), source };
        let content = match self.kind {
            Kind::Kev => Content::Kev(kev::read(bytes).map_err(wrong)?),
            Kind::Epss => Content::Epss(epss::read(bytes).map_err(wrong)?),
            Kind::Csaf => Content::Statements(vec![csaf::read(bytes).map_err(wrong)?]),
            Kind::Osv => Content::Statements(osv::read(bytes).map_err(wrong)?),
        };
        match (&mut self.content, content) {
            (None, content) => self.content = Some(content),
            (Some(Content::Statements(all)), Content::Statements(more)) => all.extend(more),
            (Some(_), _) => return Err(Refused::Several(self.kind.as_str())),
        }
        match &self.content {
            Some(Content::Statements(all)) if all.len() > MAX_STATEMENTS => Err(Refused::Many),
            _ => Ok(()),
        }
    }

    /// All that was read.
    ///
    /// # Errors
    /// [`Refused::None`].
    pub fn finish(self) -> Result<Content, Refused> {
        self.content.ok_or(Refused::None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;
    use crate::assess::samples;

    const KINDS: [Kind; 4] = [Kind::Kev, Kind::Epss, Kind::Csaf, Kind::Osv];

    #[test]
    fn one_feed_has_one_file_and_another_many() {
        let mut kev = Collector::new(Kind::Kev);
        kev.add("a", samples::KEV.as_bytes()).expect("read");
        assert!(matches!(kev.add("b", samples::KEV.as_bytes()), Err(Refused::Several("kev"))));
        let mut osv = Collector::new(Kind::Osv);
        osv.add("a", samples::OSV.as_bytes()).expect("read");
        osv.add("b", samples::OSV.as_bytes()).expect("read");
        assert_eq!(osv.finish().expect("entries").entries(), 2);
        assert!(matches!(Collector::new(Kind::Csaf).finish(), Err(Refused::None)));
    }

    #[test]
    fn a_wrong_file_is_named() {
        let mut osv = Collector::new(Kind::Osv);
        let refused = osv.add("half.json", b"{\"id\": \"DSA-1").expect_err("refused");
        let said = crate::log::in_one_line(&refused);
        assert!(said.contains("half.json") && said.contains("cut"), "{said}");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for kind in KINDS {
                let _ = Collector::new(kind).add("x", &bytes);
            }
        }

        #[test]
        fn no_change_of_a_real_file_panics(
            at in any::<usize>(), with in any::<u8>(), cut in any::<usize>(),
        ) {
            let packed = samples::packed(samples::EPSS);
            let files = [
                samples::KEV.as_bytes(), &packed, samples::CSAF.as_bytes(), samples::OSV.as_bytes(),
            ];
            for (kind, file) in KINDS.into_iter().zip(files) {
                let mut bytes = file.to_vec();
                let at = at % bytes.len();
                bytes[at] ^= with;
                let _ = Collector::new(kind).add("x", &bytes);
                bytes.drain(at..(at + cut % 50).min(file.len()));
                let _ = Collector::new(kind).add("x", &bytes);
            }
        }
    }
}
