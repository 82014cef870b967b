//! The catalogue of known exploited vulnerabilities of CISA, as JSON.
//!
//! <https://www.cisa.gov/known-exploited-vulnerabilities-catalog>; its schema
//! is `known_exploited_vulnerabilities_schema.json` there.

use std::collections::BTreeMap;

use jiff::civil::Date;
use patchmesh_topology::assessment::{CveId, Exploited};
use serde::Deserialize;

use super::{Error, at_most, json};

/// The most entries; there were some 1,500 in 2026.
const MAX_ENTRIES: usize = 100_000;

#[derive(Deserialize)]
struct File {
    count: Option<u64>,
    vulnerabilities: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(rename = "cveID")]
    cve: String,
    date_added: String,
    #[serde(default)]
    due_date: Option<String>,
    #[serde(default)]
    known_ransomware_campaign_use: Option<String>,
}

/// Reads the whole catalogue.
///
/// # Errors
/// Why nothing of it counts.
pub fn read(bytes: &[u8]) -> Result<BTreeMap<CveId, Exploited>, Error> {
    let file: File = json(bytes)?;
    at_most(&file.vulnerabilities, MAX_ENTRIES, || "vulnerabilities".to_owned())?;
    let found = file.vulnerabilities.len() as u64;
    if let Some(count) = file.count.filter(|count| *count != found) {
        return Err(Error::entry("count", format!("says {count}, but there are {found} entries")));
    }
    if found == 0 {
        return Err(Error::entry("vulnerabilities", "has no entry; the real one has a thousand"));
    }
    let mut known = BTreeMap::new();
    for (index, entry) in file.vulnerabilities.iter().enumerate() {
        let place = |field: &str| format!("vulnerabilities[{index}].{field}");
        let cve: CveId = entry.cve.parse().map_err(|error| Error::entry(place("cveID"), error))?;
        let due = entry.due_date.as_deref().filter(|due| !due.is_empty());
        let use_of = entry.known_ransomware_campaign_use.as_deref().unwrap_or_default();
        let exploited = Exploited {
            added: date(&entry.date_added)
                .map_err(|what| Error::entry(place("dateAdded"), what))?,
            due: due.map(date).transpose().map_err(|what| Error::entry(place("dueDate"), what))?,
            ransomware: use_of.eq_ignore_ascii_case("known"),
        };
        if known.insert(cve, exploited).is_some() {
            return Err(Error::entry(place("cveID"), format!("{cve} comes twice")));
        }
    }
    Ok(known)
}

/// A day; more than ten characters would be more than a day.
fn date(text: &str) -> Result<Date, String> {
    let shown: String = text.chars().take(40).collect();
    let day = (text.len() == 10).then(|| text.parse().ok()).flatten();
    day.ok_or_else(|| format!("{shown:?} is no day such as 2024-03-04"))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::assess::samples;

    #[test]
    fn reads_the_catalogue() {
        let known = read(samples::KEV.as_bytes()).expect("a catalogue");
        assert_eq!(known.len(), 2);
        let one = &known[&"CVE-2024-21338".parse().expect("a CVE")];
        let expected =
            Exploited { added: date(2024, 3, 4), due: Some(date(2024, 3, 25)), ransomware: true };
        assert_eq!(*one, expected);
        let other = &known[&"CVE-2023-0001".parse().expect("a CVE")];
        assert_eq!((other.due, other.ransomware), (None, false));
    }

    #[test]
    fn a_catalogue_that_was_cut_is_refused_wherever() {
        let whole = samples::KEV.trim_end().as_bytes();
        assert!(read(whole).is_ok());
        for length in 0..whole.len() {
            assert!(matches!(read(&whole[..length]), Err(Error::Cut)), "cut to {length}");
        }
    }

    #[test]
    fn says_which_entry_is_wrong() {
        let wrong = |from: &str, to: &str| {
            let text = samples::KEV.replace(from, to);
            assert_ne!(text, samples::KEV, "{from}");
            read(text.as_bytes()).expect_err("refused").to_string()
        };
        let said = wrong("CVE-2023-0001", "CVE-2O23-0001");
        assert!(said.starts_with("vulnerabilities[1].cveID"), "{said}");
        let said = wrong("2024-03-04\"", "2024-13-04\"");
        assert!(said.starts_with("vulnerabilities[0].dateAdded"), "{said}");
        assert!(wrong("CVE-2023-0001", "CVE-2024-21338").contains("twice"));
        assert!(wrong("\"count\": 2", "\"count\": 3").contains("says 3"));
        let said = wrong("\"cveID\": \"CVE-2023-0001\"", "\"cveID\": 7");
        assert!(said.contains("line"), "{said}");
        assert!(read(br#"{"vulnerabilities": []}"#).is_err());
    }
}
