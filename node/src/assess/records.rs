//! What the primary remembers of feeds, for itself: nothing of it is signed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use patchmesh_topology::assessment::knowledge::{Fix, Likelihoods, Rating, Remedy, Statement};
use patchmesh_topology::assessment::{CveId, Cvss, Exploited, Score, Share};
use patchmesh_topology::revision::Severity;
use prost::Message;

use crate::store::{Table, Tag};

/// Facts of vulnerabilities: known exploited under [`KEV`], likelihoods by year.
pub static FACTS: Table<str, FactsRecord> = Table::new(Tag::VulnerabilityFacts, 1);
/// What advisories say, by their names such as `osv/DSA-5678-1`.
pub static STATEMENTS: Table<str, StatementRecord> = Table::new(Tag::Statement, 1);
/// Feeds that are fetched every day, by their names.
pub static FEEDS: Table<str, FeedRecord> = Table::new(Tag::Feed, 1);

/// The key of what is known to be exploited.
pub const KEV: &str = "kev";
/// What the keys of likelihoods begin with; the year follows.
pub const EPSS: &str = "epss/";

/// Facts of many vulnerabilities, in lists of equal length.
#[derive(Clone, PartialEq, Message)]
pub struct FactsRecord {
    /// The day of likelihoods.
    #[prost(string, tag = "1")]
    pub date: String,
    /// Known exploited.
    #[prost(message, repeated, tag = "2")]
    pub exploited: Vec<ExploitedRecord>,
    /// The numbers of the year's vulnerabilities, ascending.
    #[prost(uint64, repeated, tag = "3")]
    pub numbers: Vec<u64>,
    /// Probabilities in millionths.
    #[prost(uint32, repeated, tag = "4")]
    pub scores: Vec<u32>,
    /// Percentiles in millionths.
    #[prost(uint32, repeated, tag = "5")]
    pub percentiles: Vec<u32>,
}

/// A vulnerability that is known to be exploited.
#[derive(Clone, PartialEq, Message)]
pub struct ExploitedRecord {
    /// Its name.
    #[prost(string, tag = "1")]
    pub cve: String,
    /// A day.
    #[prost(string, tag = "2")]
    pub added: String,
    /// A day, or empty.
    #[prost(string, tag = "3")]
    pub due: String,
    /// Whether ransomware uses it.
    #[prost(bool, tag = "4")]
    pub ransomware: bool,
}

/// What one advisory says.
#[derive(Clone, PartialEq, Message)]
pub struct StatementRecord {
    /// Seconds since 1970 when it was changed last; 0 where not stated.
    #[prost(int64, tag = "1")]
    pub changed_at: i64,
    /// How bad vulnerabilities are.
    #[prost(message, repeated, tag = "2")]
    pub ratings: Vec<RatingRecord>,
    /// What mends them.
    #[prost(message, repeated, tag = "3")]
    pub fixes: Vec<FixRecord>,
}

/// How bad a vulnerability is.
#[derive(Clone, PartialEq, Message)]
pub struct RatingRecord {
    /// Its name.
    #[prost(string, tag = "1")]
    pub cve: String,
    /// A word, or empty.
    #[prost(string, tag = "2")]
    pub severity: String,
    /// Whether there is a vector or score.
    #[prost(bool, tag = "3")]
    pub has_cvss: bool,
    /// Base score in tenths.
    #[prost(uint32, optional, tag = "4")]
    pub tenths: Option<u32>,
    /// The vector.
    #[prost(string, tag = "5")]
    pub vector: String,
}

/// What mends vulnerabilities.
#[derive(Clone, PartialEq, Message)]
pub struct FixRecord {
    /// An article; empty for a package.
    #[prost(string, tag = "1")]
    pub article: String,
    /// Of a package: the distribution.
    #[prost(string, tag = "2")]
    pub distribution: String,
    /// Of a package: its name.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Of a package: the version.
    #[prost(string, tag = "4")]
    pub version: String,
    /// What is mended.
    #[prost(string, repeated, tag = "5")]
    pub cves: Vec<String>,
}

/// A feed that is fetched every day.
#[derive(Clone, PartialEq, Message)]
pub struct FeedRecord {
    /// A number of `admin::FeedKind`.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// Where, with what logs in there.
    #[prost(string, tag = "2")]
    pub url: String,
    /// Seconds since 1970 of the last success; 0 for never.
    #[prost(int64, tag = "3")]
    pub succeeded_at: i64,
    /// Seconds since 1970 of the last attempt; 0 for never.
    #[prost(int64, tag = "4")]
    pub attempted_at: i64,
    /// Why the last attempt failed; empty when it did not.
    #[prost(string, tag = "5")]
    pub problem: String,
    /// Attempts in a row that failed.
    #[prost(uint32, tag = "6")]
    pub failures: u32,
    /// Entries of the file that was fetched last.
    #[prost(uint64, tag = "7")]
    pub entries: u64,
    /// What the server knows the file by.
    #[prost(string, optional, tag = "8")]
    pub etag: Option<String>,
    /// When the server says that it was changed.
    #[prost(string, optional, tag = "9")]
    pub last_modified: Option<String>,
}

/// The record of what is known to be exploited.
#[must_use]
pub fn of_exploited(known: &BTreeMap<CveId, Exploited>) -> FactsRecord {
    let exploited = known.iter().map(|(cve, one)| ExploitedRecord {
        cve: cve.to_string(),
        added: one.added.to_string(),
        due: one.due.map(|due| due.to_string()).unwrap_or_default(),
        ransomware: one.ransomware,
    });
    FactsRecord { exploited: exploited.collect(), ..FactsRecord::default() }
}

/// What a record says to be exploited. What was never written here is passed over.
#[must_use]
pub fn to_exploited(record: &FactsRecord) -> BTreeMap<CveId, Exploited> {
    let read = |one: &ExploitedRecord| {
        let (added, due) = (one.added.parse().ok()?, one.due.parse().ok());
        Some((one.cve.parse().ok()?, Exploited { added, due, ransomware: one.ransomware }))
    };
    record.exploited.iter().filter_map(read).collect()
}

/// Likelihoods by year.
#[must_use]
pub fn of_likelihoods(likelihoods: &Likelihoods) -> BTreeMap<u16, FactsRecord> {
    let mut years: BTreeMap<u16, FactsRecord> = BTreeMap::new();
    let date = likelihoods.date.map(|date| date.to_string()).unwrap_or_default();
    for (cve, score, percentile) in &likelihoods.rows {
        let record = years.entry(cve.year()).or_default();
        record.date.clone_from(&date);
        record.numbers.push(cve.number());
        record.scores.push(score.millionths());
        record.percentiles.push(percentile.millionths());
    }
    years
}

/// The likelihoods of all years; their records come in ascending order.
#[must_use]
pub fn to_likelihoods(years: &[(u16, FactsRecord)]) -> Likelihoods {
    let date = years.first().and_then(|(_, record)| record.date.parse::<Date>().ok());
    let rows = years.iter().flat_map(|(year, record)| {
        let shares = record.scores.iter().zip(&record.percentiles);
        record.numbers.iter().zip(shares).filter_map(|(number, (score, percentile))| {
            let share = |millionths: &u32| Share::from_millionths(*millionths);
            Some((CveId::new(*year, *number)?, share(score)?, share(percentile)?))
        })
    });
    Likelihoods { date, rows: rows.collect() }
}

/// The record of a statement.
#[must_use]
pub fn of_statement(statement: &Statement, changed_at: Option<Timestamp>) -> StatementRecord {
    let ratings = statement.ratings.iter().map(|(cve, rating)| RatingRecord {
        cve: cve.to_string(),
        severity: rating.severity.map(|one| one.to_string()).unwrap_or_default(),
        has_cvss: rating.cvss.is_some(),
        tenths: rating.cvss.as_ref().and_then(|one| one.score).map(|one| one.tenths().into()),
        vector: rating.cvss.as_ref().map(|one| one.vector.clone()).unwrap_or_default(),
    });
    let fixes = statement.fixes.iter().map(|fix| {
        let cves = fix.cves.iter().map(ToString::to_string).collect();
        match &fix.remedy {
            Remedy::Article(article) => {
                FixRecord { article: article.clone(), cves, ..FixRecord::default() }
            }
            Remedy::Package { distribution, name, version } => FixRecord {
                article: String::new(),
                distribution: distribution.clone(),
                name: name.clone(),
                version: version.clone(),
                cves,
            },
        }
    });
    StatementRecord {
        changed_at: changed_at.map_or(0, Timestamp::as_second),
        ratings: ratings.collect(),
        fixes: fixes.collect(),
    }
}

/// The statement of a record.
#[must_use]
pub fn to_statement(source: String, record: StatementRecord) -> Statement {
    let rating = |one: RatingRecord| {
        let score = one.tenths.and_then(|tenths| u8::try_from(tenths).ok());
        let cvss = Cvss { score: score.and_then(Score::from_tenths), vector: one.vector };
        let severity: Option<Severity> = one.severity.parse().ok();
        let cvss = one.has_cvss.then_some(cvss);
        Some((one.cve.parse().ok()?, Rating { severity, cvss }))
    };
    let fix = |one: FixRecord| Fix {
        cves: one.cves.iter().filter_map(|cve| cve.parse().ok()).collect(),
        remedy: if one.article.is_empty() {
            let FixRecord { distribution, name, version, .. } = one;
            Remedy::Package { distribution, name, version }
        } else {
            Remedy::Article(one.article)
        },
    };
    Statement {
        source,
        ratings: record.ratings.into_iter().filter_map(rating).collect(),
        fixes: record.fixes.into_iter().map(fix).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assess::{csaf, epss, kev, osv, samples};

    #[test]
    fn what_is_kept_is_what_was_read() {
        let known = kev::read(samples::KEV.as_bytes()).expect("a catalogue");
        assert_eq!(to_exploited(&of_exploited(&known)), known);
        let scores = epss::read(samples::EPSS.as_bytes()).expect("scores");
        let years: Vec<_> = of_likelihoods(&scores).into_iter().collect();
        assert_eq!(years.len(), 2);
        assert_eq!(to_likelihoods(&years), scores);
        let mut statements = osv::read(samples::OSV.as_bytes()).expect("entries");
        statements.push(csaf::read(samples::CSAF.as_bytes()).expect("an advisory"));
        for (statement, changed) in statements {
            let record = of_statement(&statement, changed);
            assert_ne!(record.changed_at, 0);
            assert_eq!(to_statement(statement.source.clone(), record), statement);
        }
    }
}
