//! Open Source Vulnerabilities, as JSON.
//!
//! <https://ossf.github.io/osv-schema/>: one entry, an array of them, or one
//! after the other (JSON lines). Only packages of Debian and Ubuntu are kept;
//! other ecosystems have no revisions here.
//!
//! JSON lines that were cut between two lines can't be told from shorter ones.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use patchmesh_topology::assessment::cvss::base_score;
use patchmesh_topology::assessment::knowledge::{Fix, Rating, Remedy, Statement};
use patchmesh_topology::assessment::{CveId, Cvss};
use patchmesh_topology::revision::Severity;
use serde::Deserialize;

use super::{Error, MAX_FILE, at_most, json, without_mark, word};

/// The most entries of a file; Debian had some 60,000 in 2026.
const MAX_ENTRIES: usize = 1_000_000;
/// The most names, packages, ranges or events of an entry.
const MAX_LIST: usize = 10_000;

#[derive(Debug, Deserialize)]
struct Entry {
    id: String,
    #[serde(default)]
    modified: Option<String>,
    #[serde(default)]
    withdrawn: Option<String>,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    upstream: Vec<String>,
    #[serde(default)]
    related: Vec<String>,
    #[serde(default)]
    severity: Vec<Rated>,
    #[serde(default)]
    affected: Vec<Affected>,
    #[serde(default)]
    database_specific: Option<Specific>,
}

#[derive(Debug, Deserialize)]
struct Rated {
    r#type: String,
    score: String,
}

#[derive(Debug, Deserialize)]
struct Affected {
    #[serde(default)]
    package: Option<Package>,
    #[serde(default)]
    ranges: Vec<Range>,
}

#[derive(Debug, Deserialize)]
struct Package {
    ecosystem: String,
    name: String,
}

#[derive(Debug, Deserialize)]
struct Range {
    r#type: String,
    #[serde(default)]
    events: Vec<Event>,
}

#[derive(Debug, Deserialize)]
struct Event {
    #[serde(default)]
    introduced: Option<String>,
    #[serde(default)]
    fixed: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Specific {
    #[serde(default)]
    severity: serde_json::Value,
}

/// A statement and when its publisher changed it last.
pub type Dated = (Statement, Option<Timestamp>);

/// Reads every entry of a file.
///
/// # Errors
/// Why nothing of it counts.
pub fn read(bytes: &[u8]) -> Result<Vec<Dated>, Error> {
    let text = without_mark(bytes).trim_ascii_start();
    let mut statements = Vec::new();
    if text.starts_with(b"[") {
        let entries: Vec<Entry> = json(text)?;
        at_most(&entries, MAX_ENTRIES, || "the file".to_owned())?;
        for (index, entry) in entries.into_iter().enumerate() {
            statements.push(statement(entry, index)?);
        }
    } else {
        if text.len() > MAX_FILE {
            return Err(Error::Long { limit: MAX_FILE });
        }
        let entries = serde_json::Deserializer::from_slice(text).into_iter::<Entry>();
        for (index, entry) in entries.enumerate() {
            if index == MAX_ENTRIES {
                return Err(Error::Many { place: "the file".to_owned(), limit: MAX_ENTRIES });
            }
            statements.push(statement(entry.map_err(Error::json)?, index)?);
        }
    }
    if statements.is_empty() {
        return Err(Error::Cut);
    }
    Ok(statements)
}

fn statement(entry: Entry, index: usize) -> Result<Dated, Error> {
    let id = word(&entry.id, || format!("entry {}: id", index + 1))?;
    let place = |field: &str| format!("entry {} ({id}): {field}", index + 1);
    let lists = [&entry.aliases, &entry.upstream, &entry.related];
    for list in lists {
        at_most(list, MAX_LIST, || place("aliases"))?;
    }
    at_most(&entry.severity, MAX_LIST, || place("severity"))?;
    at_most(&entry.affected, MAX_LIST, || place("affected"))?;
    let modified = entry
        .modified
        .as_deref()
        .map(|text| text.parse::<Timestamp>())
        .transpose()
        .map_err(|_| Error::entry(place("modified"), "is no time"))?;
    let source = format!("osv/{id}");
    if entry.withdrawn.is_some() {
        return Ok((Statement { source, ..Statement::default() }, modified));
    }
    let cves = cves(&entry);
    let rating = rating(&entry, &place)?;
    let is_rated = rating != Rating::default();
    let ratings: BTreeMap<CveId, Rating> = match is_rated {
        // A score of several together is of none of them.
        true if cves.len() == 1 => cves.iter().map(|cve| (*cve, rating.clone())).collect(),
        _ => BTreeMap::new(),
    };
    let mut fixes = Vec::new();
    for (number, affected) in entry.affected.iter().enumerate() {
        let place = |field: &str| place(&format!("affected[{number}].{field}"));
        let remedies = remedies(affected, &place)?;
        fixes.extend(remedies.into_iter().map(|remedy| Fix { remedy, cves: cves.clone() }));
    }
    if cves.is_empty() {
        fixes.clear();
    }
    Ok((Statement { source, ratings, fixes }, modified))
}

/// The vulnerabilities that an entry is about. Distributions name them as
/// aliases or upstream; advisories of before 2025, as related.
fn cves(entry: &Entry) -> BTreeSet<CveId> {
    let read = |text: &str| {
        let bare = text.strip_prefix("DEBIAN-").or_else(|| text.strip_prefix("UBUNTU-"));
        bare.unwrap_or(text).parse().ok()
    };
    let own = [&entry.id].into_iter().chain(&entry.aliases).chain(&entry.upstream);
    let mut cves: BTreeSet<CveId> = own.filter_map(|text| read(text)).collect();
    let is_advisory = ["DSA-", "DLA-", "USN-"].iter().any(|start| entry.id.starts_with(start));
    if cves.is_empty() && is_advisory {
        cves = entry.related.iter().filter_map(|text| read(text)).collect();
    }
    cves
}

fn rating(entry: &Entry, place: &impl Fn(&str) -> String) -> Result<Rating, Error> {
    let mut cvss: Option<Cvss> = None;
    for (index, rated) in entry.severity.iter().enumerate() {
        if !rated.r#type.starts_with("CVSS_") {
            continue;
        }
        let vector = word(&rated.score, || place(&format!("severity[{index}].score")))?;
        let score = base_score(&vector);
        if cvss.as_ref().is_none_or(|known| score > known.score) {
            cvss = Some(Cvss { score, vector });
        }
    }
    let word = entry.database_specific.as_ref().and_then(|one| one.severity.as_str());
    Ok(Rating { severity: word.and_then(severity), cvss })
}

/// The words of GitHub and of distributions.
pub(super) fn severity(word: &str) -> Option<Severity> {
    let known = [
        ("critical", Severity::Critical),
        ("important", Severity::Important),
        ("high", Severity::Important),
        ("moderate", Severity::Moderate),
        ("medium", Severity::Moderate),
        ("low", Severity::Low),
    ];
    known.iter().find(|(text, _)| word.eq_ignore_ascii_case(text)).map(|(_, severity)| *severity)
}

fn remedies(affected: &Affected, place: &impl Fn(&str) -> String) -> Result<Vec<Remedy>, Error> {
    let Some(package) = &affected.package else { return Ok(Vec::new()) };
    let family = package.ecosystem.split(':').next().unwrap_or_default();
    let is_extra = package.ecosystem.contains(":Pro");
    if !matches!(family, "Debian" | "Ubuntu") || is_extra {
        return Ok(Vec::new());
    }
    at_most(&affected.ranges, MAX_LIST, || place("ranges"))?;
    let distribution = word(&package.ecosystem, || place("package.ecosystem"))?;
    let name = word(&package.name, || place("package.name"))?;
    let mut remedies = Vec::new();
    for range in affected.ranges.iter().filter(|range| range.r#type == "ECOSYSTEM") {
        at_most(&range.events, MAX_LIST, || place("ranges.events"))?;
        // What was mended and broken again is mended by the last fix, if that
        // comes last.
        let events = range.events.iter().rev();
        let last = events.take_while(|event| event.introduced.is_none());
        if let Some(fixed) = last.filter_map(|event| event.fixed.as_deref()).next() {
            let version = word(fixed, || place("ranges.events.fixed"))?;
            let (distribution, name) = (distribution.clone(), name.clone());
            remedies.push(Remedy::Package { distribution, name, version });
        }
    }
    Ok(remedies)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assess::samples;

    fn cve(text: &str) -> CveId {
        text.parse().expect("a CVE")
    }

    #[test]
    fn reads_one_entry() {
        let read = read(samples::OSV.as_bytes()).expect("an entry");
        let [(statement, modified)] = read.as_slice() else { panic!("{read:?}") };
        assert_eq!(statement.source, "osv/DSA-5678-1");
        assert!(modified.is_some());
        let cves: BTreeSet<_> = [cve("CVE-2024-4741"), cve("CVE-2024-5535")].into();
        let remedy = |distribution: &str, version: &str| Remedy::Package {
            distribution: distribution.to_owned(),
            name: "openssl".to_owned(),
            version: version.to_owned(),
        };
        assert_eq!(
            statement.fixes,
            [
                Fix { remedy: remedy("Debian:12", "3.0.15-1~deb12u1"), cves: cves.clone() },
                Fix { remedy: remedy("Debian:11", "1.1.1w-0+deb11u2"), cves },
            ]
        );
    }

    #[test]
    fn reads_arrays_and_lines() {
        let one = samples::OSV.replace('\n', " ");
        let second = one.replace("DSA-5678-1", "DEBIAN-CVE-2024-5535");
        let array = read(format!("[{one},{second}]").as_bytes()).expect("an array");
        let lines = read(format!("{one}\n{second}\n").as_bytes()).expect("lines");
        assert_eq!((array.len(), &array), (2, &lines));
    }

    #[test]
    fn an_entry_that_was_cut_is_refused_wherever() {
        let whole = samples::OSV.trim_end();
        let array = format!("[{whole},{whole}]");
        for text in [whole, array.as_str()] {
            assert!(read(text.as_bytes()).is_ok());
            for length in 0..text.len() {
                assert!(read(&text.as_bytes()[..length]).is_err(), "cut to {length}");
            }
        }
    }

    #[test]
    fn a_score_is_computed_and_a_withdrawn_entry_says_nothing() {
        let text = r#"{"id": "CVE-2024-1111", "modified": "2024-05-01T00:00:00Z",
            "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
            "database_specific": {"severity": "HIGH"}}"#;
        let (statement, _) = read(text.as_bytes()).expect("an entry").remove(0);
        let rating = &statement.ratings[&cve("CVE-2024-1111")];
        let score = rating.cvss.as_ref().and_then(|cvss| cvss.score);
        assert_eq!(score.map(|score| score.tenths()), Some(98));
        assert_eq!(rating.severity, Some(Severity::Important));
        let withdrawn =
            samples::OSV.replacen("\"id\"", "\"withdrawn\": \"2024-05-01T00:00:00Z\", \"id\"", 1);
        let (statement, _) = read(withdrawn.as_bytes()).expect("an entry").remove(0);
        assert!(statement.fixes.is_empty());
    }

    #[test]
    fn only_the_last_fix_of_what_broke_again_counts() {
        let events = |events: &str| {
            let text = format!(
                r#"{{"id": "CVE-2024-1111", "affected": [{{"package": {{"ecosystem": "Debian:12",
                "name": "x"}}, "ranges": [{{"type": "ECOSYSTEM", "events": {events}}}]}}]}}"#
            );
            let (statement, _) = read(text.as_bytes()).expect("an entry").remove(0);
            statement.fixes.into_iter().map(|fix| fix.remedy).collect::<Vec<_>>()
        };
        let twice =
            events(r#"[{"introduced": "0"}, {"fixed": "1"}, {"introduced": "2"}, {"fixed": "3"}]"#);
        assert!(matches!(&twice[..], [Remedy::Package { version, .. }] if version == "3"));
        assert_eq!(events(r#"[{"introduced": "0"}, {"fixed": "1"}, {"introduced": "2"}]"#), []);
    }

    #[test]
    fn says_which_entry_is_wrong() {
        let one = samples::OSV.replace('\n', " ");
        let wrong = one.replace("3.0.15-1~deb12u1", "");
        let said = read(format!("[{one},{wrong}]").as_bytes()).expect_err("refused").to_string();
        assert!(
            said.starts_with("entry 2 (DSA-5678-1): affected[0].ranges.events.fixed"),
            "{said}"
        );
        let said = read(br#"{"id": ""}"#).expect_err("refused").to_string();
        assert!(said.starts_with("entry 1: id"), "{said}");
    }
}
