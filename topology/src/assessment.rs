//! What a revision means to the company: which vulnerabilities it mends, how
//! dangerous those are, and how the company judges it.
//!
//! An [`Assessment`] stands beside a revision and never changes it: it is
//! written anew whenever the world learns more of a vulnerability. What
//! [`knowledge`] makes of feeds is recomputed; the company's own
//! [`Judgement`] is kept until somebody judges again.

pub mod cve;
pub mod cvss;
pub mod danger;
pub mod knowledge;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::node::UnknownWord;
use crate::revision::{RevisionId, Severity};

pub use cve::CveId;
pub use danger::{Danger, Rank};

/// The most vulnerabilities kept of one revision, the most dangerous of them,
/// so that an entry fits into a partition. A kernel mends thousands.
pub const MAX_VULNERABILITIES: usize = 200;

/// The most statements kept that tie one vulnerability to one revision.
pub const MAX_LINKS: usize = 4;

/// The longest note or exposure of a judgement, in bytes.
pub const MAX_NOTE: usize = 2000;

/// Every assessment, by revision.
pub type Assessments = BTreeMap<RevisionId, Assessment>;

/// A CVSS base score, in tenths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Score(u8);

impl Score {
    /// A score of so many tenths; `None` above 10.0.
    #[must_use]
    pub const fn from_tenths(tenths: u8) -> Option<Self> {
        if tenths <= 100 { Some(Self(tenths)) } else { None }
    }

    /// The score that is nearest to a number; `None` where it is none.
    #[must_use]
    pub fn from_number(number: f64) -> Option<Self> {
        let is_score = (0.0..=10.0).contains(&number);
        // Between 0 and 100 by the check before it.
        is_score.then(|| Self((number * 10.0).round() as u8))
    }

    /// Tenths.
    #[must_use]
    pub const fn tenths(self) -> u8 {
        self.0
    }

    /// The rating of the CVSS specification in this project's words; `None`
    /// for 0.0.
    #[must_use]
    pub const fn severity(self) -> Option<Severity> {
        match self.0 {
            0 => None,
            1..=39 => Some(Severity::Low),
            40..=69 => Some(Severity::Moderate),
            70..=89 => Some(Severity::Important),
            _ => Some(Severity::Critical),
        }
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.0 / 10, self.0 % 10))
    }
}

/// How bad a vulnerability is by its nature.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cvss {
    /// The base score; `None` where only a vector of a version is given whose
    /// score this software can't compute.
    pub score: Option<Score>,
    /// Such as `CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H`; may be empty.
    pub vector: String,
}

/// A share of one, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Share(u32);

impl Share {
    /// So many millionths; `None` above one.
    #[must_use]
    pub const fn from_millionths(millionths: u32) -> Option<Self> {
        if millionths <= 1_000_000 { Some(Self(millionths)) } else { None }
    }

    /// The share that is nearest to a number; `None` outside of 0 to 1.
    #[must_use]
    pub fn from_number(number: f64) -> Option<Self> {
        let is_share = (0.0..=1.0).contains(&number);
        // Between 0 and a million by the check before it.
        is_share.then(|| Self((number * 1_000_000.0).round() as u32))
    }

    /// Millionths.
    #[must_use]
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// As a number from 0 to 1.
    #[must_use]
    pub fn number(self) -> f64 {
        f64::from(self.0) / 1_000_000.0
    }
}

/// A vulnerability that is exploited, as the catalogue of known exploited
/// vulnerabilities (KEV) says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exploited {
    /// When it entered that catalogue.
    pub added: Date,
    /// By when it asks to have it mended.
    pub due: Option<Date>,
    /// Whether ransomware is known to use it.
    pub ransomware: bool,
}

/// How likely a vulnerability is to be exploited in the next 30 days (EPSS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epss {
    /// The probability.
    pub score: Share,
    /// The share of all vulnerabilities that are at most as likely.
    pub percentile: Share,
    /// The day that it was computed for.
    pub date: Date,
}

/// A statement and who made it, such as `kev`, `osv/DSA-5678-1` or `vendor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stated<T> {
    /// What is stated.
    pub what: T,
    /// By whom.
    pub source: String,
}

/// What is known of one vulnerability.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vulnerability {
    /// A rating in words.
    pub severity: Option<Stated<Severity>>,
    /// The worst score that somebody gave.
    pub cvss: Option<Stated<Cvss>>,
    /// Set where it is known to be exploited.
    pub exploited: Option<Stated<Exploited>>,
    /// How likely it is to be exploited.
    pub epss: Option<Stated<Epss>>,
    /// Who says that the revision mends it, at most [`MAX_LINKS`].
    pub links: BTreeSet<String>,
}

impl Vulnerability {
    /// How bad it is by its score, or by words where there is no score.
    #[must_use]
    pub fn severity(&self) -> Option<Severity> {
        let score = self.cvss.as_ref().and_then(|cvss| cvss.what.score);
        match score {
            Some(score) => score.severity(),
            None => self.severity.as_ref().map(|severity| severity.what),
        }
    }

    /// Exploited before likely before bad: what is kept where there are too many.
    fn weight(&self) -> (bool, Option<Severity>, Share) {
        let epss = self.epss.as_ref().map(|epss| epss.what.score).unwrap_or_default();
        (self.exploited.is_some(), self.severity(), epss)
    }
}

/// How the company rates the risk of not having a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Risk {
    /// It does not concern this company: the product isn't used that way.
    NotApplicable,
    /// No risk.
    None,
    /// Low.
    Low,
    /// Moderate.
    Moderate,
    /// Important.
    Important,
    /// Critical.
    Critical,
}

impl Risk {
    /// All of them, the least first.
    pub const ALL: &'static [Self] = &[
        Self::NotApplicable,
        Self::None,
        Self::Low,
        Self::Moderate,
        Self::Important,
        Self::Critical,
    ];

    /// The word used in commands and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotApplicable => "not-applicable",
            Self::None => "none",
            Self::Low => "low",
            Self::Moderate => "moderate",
            Self::Important => "important",
            Self::Critical => "critical",
        }
    }

    /// The severity that it stands for; `None` where there is no risk.
    #[must_use]
    pub const fn severity(self) -> Option<Severity> {
        match self {
            Self::NotApplicable | Self::None => None,
            Self::Low => Some(Severity::Low),
            Self::Moderate => Some(Severity::Moderate),
            Self::Important => Some(Severity::Important),
            Self::Critical => Some(Severity::Critical),
        }
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Risk {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL.iter().copied().find(|risk| risk.as_str() == text).ok_or_else(|| UnknownWord {
            kind: "risk",
            text: text.to_owned(),
            allowed: "critical, important, moderate, low, none or not-applicable",
        })
    }
}

/// How much of the company a revision concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exposure {
    /// So many machines.
    Machines(u64),
    /// In words.
    Text(String),
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machines(1) => f.write_str("1 machine"),
            Self::Machines(count) => write!(f, "{count} machines"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl FromStr for Exposure {
    type Err = std::convert::Infallible;

    /// A number is a number of machines; all else is taken as it is.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse().map_or_else(|_| Self::Text(text.to_owned()), Self::Machines))
    }
}

/// What somebody of the company decided that a revision means to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The risk.
    pub risk: Risk,
    /// Who is exposed; `None` where not stated.
    pub exposure: Option<Exposure>,
    /// Who judged.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub note: String,
}

/// What is known and judged of one revision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assessment {
    /// The vendor's own rating, which the revision states.
    pub vendor: Option<Severity>,
    /// The vulnerabilities that it mends, at most [`MAX_VULNERABILITIES`].
    pub vulnerabilities: BTreeMap<CveId, Vulnerability>,
    /// How many more it mends that were less dangerous than all of those.
    pub omitted: u64,
    /// The company's own judgement.
    pub judgement: Option<Judgement>,
}

/// Where an effective severity comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The company's own judgement.
    Judgement,
    /// The vendor's rating.
    Vendor,
    /// The worst of the vulnerabilities.
    Vulnerabilities,
}

impl Basis {
    /// The word used in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Judgement => "judgement",
            Self::Vendor => "vendor",
            Self::Vulnerabilities => "vulnerabilities",
        }
    }
}

/// How bad it is not to have a revision: as its assessment has it, else as its vendor states.
#[must_use]
pub fn effective(assessment: Option<&Assessment>, stated: Option<Severity>) -> Option<Severity> {
    let assessed = assessment.and_then(Assessment::severity);
    assessed.map_or(stated, |(severity, _)| severity)
}

impl Assessment {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How bad it is not to have the revision: the company's own judgement over
    /// the vendor's rating over the worst of the vulnerabilities. A judgement of
    /// no risk is no severity, on the basis of that judgement.
    #[must_use]
    pub fn severity(&self) -> Option<(Option<Severity>, Basis)> {
        if let Some(judgement) = &self.judgement {
            return Some((judgement.risk.severity(), Basis::Judgement));
        }
        if let Some(vendor) = self.vendor {
            return Some((Some(vendor), Basis::Vendor));
        }
        let worst = self.vulnerabilities.values().filter_map(Vulnerability::severity).max();
        worst.map(|worst| (Some(worst), Basis::Vulnerabilities))
    }

    /// Whether the company judged that there is no risk.
    #[must_use]
    pub fn is_dismissed(&self) -> bool {
        self.judgement.as_ref().is_some_and(|judgement| judgement.risk.severity().is_none())
    }

    /// Keeps the most dangerous [`MAX_VULNERABILITIES`] and counts the rest.
    pub(crate) fn trim(&mut self) {
        let surplus = self.vulnerabilities.len().saturating_sub(MAX_VULNERABILITIES);
        if surplus == 0 {
            return;
        }
        let mut all: Vec<_> = std::mem::take(&mut self.vulnerabilities).into_iter().collect();
        // Of equals the newest stay.
        all.sort_by(|(a, x), (b, y)| (y.weight(), b).cmp(&(x.weight(), a)));
        all.truncate(MAX_VULNERABILITIES);
        self.vulnerabilities = all.into_iter().collect();
        self.omitted += surplus as u64;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn cve(number: u64) -> CveId {
        CveId::new(2024, number).expect("a CVE")
    }

    pub(crate) fn scored(tenths: u8) -> Vulnerability {
        let cvss = Cvss { score: Score::from_tenths(tenths), vector: String::new() };
        let cvss = Some(Stated { what: cvss, source: "osv/x".to_owned() });
        Vulnerability { cvss, ..Vulnerability::default() }
    }

    pub(crate) fn judged(risk: Risk) -> Judgement {
        let (by, at) = ("ada".to_owned(), Timestamp::UNIX_EPOCH);
        Judgement { risk, exposure: None, by, at, note: String::new() }
    }

    #[test]
    fn scores_and_shares_take_only_what_they_are() {
        assert_eq!(Score::from_number(9.8).map(Score::tenths), Some(98));
        for wrong in [-0.1, 10.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Score::from_number(wrong), None);
        }
        assert_eq!(Share::from_number(0.94523).map(Share::millionths), Some(945_230));
        for wrong in [-0.1, 1.1, f64::NAN] {
            assert_eq!(Share::from_number(wrong), None);
        }
        assert_eq!(Score::from_tenths(100).expect("a score").to_string(), "10.0");
        let severity = |tenths| Score::from_tenths(tenths).expect("a score").severity();
        assert_eq!(severity(0), None);
        assert_eq!(severity(39), Some(Severity::Low));
        assert_eq!(severity(40), Some(Severity::Moderate));
        assert_eq!(severity(70), Some(Severity::Important));
        assert_eq!(severity(90), Some(Severity::Critical));
    }

    #[test]
    fn a_judgement_counts_more_than_a_vendor_and_a_vendor_more_than_a_score() {
        let mut assessment = Assessment::default();
        assert_eq!(assessment.severity(), None);
        assessment.vulnerabilities.insert(cve(1), scored(98));
        assessment.vulnerabilities.insert(cve(2), scored(45));
        assert_eq!(assessment.severity(), Some((Some(Severity::Critical), Basis::Vulnerabilities)));
        assessment.vendor = Some(Severity::Moderate);
        assert_eq!(assessment.severity(), Some((Some(Severity::Moderate), Basis::Vendor)));
        assessment.judgement = Some(judged(Risk::Important));
        assert_eq!(assessment.severity(), Some((Some(Severity::Important), Basis::Judgement)));
        assessment.judgement = Some(judged(Risk::NotApplicable));
        assert_eq!(assessment.severity(), Some((None, Basis::Judgement)));
        assert!(assessment.is_dismissed());
    }

    #[test]
    fn too_many_vulnerabilities_leave_the_most_dangerous() {
        let mut assessment = Assessment::default();
        let many = MAX_VULNERABILITIES as u64 + 10;
        for number in 0..many {
            let tenths = if number == 3 { 99 } else { 50 };
            assessment.vulnerabilities.insert(cve(number), scored(tenths));
        }
        assessment.trim();
        assert_eq!(assessment.vulnerabilities.len(), MAX_VULNERABILITIES);
        assert_eq!(assessment.omitted, 10);
        assert!(assessment.vulnerabilities.contains_key(&cve(3)), "the worst stays");
        assert!(assessment.vulnerabilities.contains_key(&cve(many - 1)), "of equals the newest");
    }

    #[test]
    fn risks_have_words() {
        for risk in Risk::ALL {
            assert_eq!(risk.as_str().parse::<Risk>().as_ref(), Ok(risk));
        }
        assert!("urgent".parse::<Risk>().is_err());
        assert_eq!("12".parse(), Ok(Exposure::Machines(12)));
        assert_eq!("the web shop".parse(), Ok(Exposure::Text("the web shop".to_owned())));
    }
}
