//! The file in which an advisory is written: TOML, with every field explained.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::Timestamp;
use patchmesh_topology::advisory::{Advisory, Fault};
use patchmesh_topology::assessment::CveId;
use patchmesh_topology::name::AdvisoryName;
use patchmesh_topology::revision::{Reference, Severity};
use serde::Deserialize;

use crate::cli::file::{self, line, quoted};

/// What the file may say, and nothing else.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    id: toml::Spanned<String>,
    title: String,
    #[serde(default)]
    severity: Option<toml::Spanned<String>>,
    #[serde(default)]
    updates: Vec<toml::Spanned<String>>,
    #[serde(default)]
    cves: Vec<toml::Spanned<String>>,
    flaw: String,
    exploits: String,
    #[serde(default)]
    scanners: Vec<String>,
    #[serde(default)]
    workarounds: Vec<String>,
    #[serde(default)]
    side_effects: Vec<String>,
}

/// Reads the file and checks everything that can be checked without the mesh.
pub(super) fn read(path: &Path) -> anyhow::Result<Advisory> {
    file::read(path, parse)
}

fn parse(text: &str) -> Result<Advisory, String> {
    let file: File = file::fields(text)?;
    let at = |spanned: &toml::Spanned<String>, error: &dyn std::fmt::Display| {
        format!("line {}: {error}", line(text, spanned.span().start))
    };
    let name: AdvisoryName = file.id.get_ref().parse().map_err(|error| at(&file.id, &error))?;
    let severity = file
        .severity
        .as_ref()
        .filter(|word| !word.get_ref().is_empty())
        .map(|word| word.get_ref().parse::<Severity>().map_err(|error| at(word, &error)))
        .transpose()?;
    let updates = file
        .updates
        .iter()
        .map(|text| text.get_ref().parse::<Reference>().map_err(|error| at(text, &error)))
        .collect::<Result<BTreeSet<_>, _>>()?;
    let cves = file
        .cves
        .iter()
        .map(|text| text.get_ref().parse::<CveId>().map_err(|error| at(text, &error)))
        .collect::<Result<BTreeSet<_>, _>>()?;
    let advisory = Advisory {
        name,
        version: 1,
        title: file.title,
        severity,
        updates,
        cves,
        flaw: file.flaw.trim().to_owned(),
        exploits: file.exploits.trim().to_owned(),
        scanners: file.scanners,
        workarounds: file.workarounds,
        side_effects: file.side_effects,
        author: String::new(),
        published_at: Timestamp::UNIX_EPOCH,
    };
    let faults: Vec<_> = advisory.faults().iter().map(Fault::to_string).collect();
    if faults.is_empty() { Ok(advisory) } else { Err(faults.join("; ")) }
}

/// What a new file begins with.
#[derive(Debug, Default)]
pub(super) struct Start {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) severity: Option<&'static str>,
    pub(super) updates: Vec<String>,
    pub(super) cves: Vec<String>,
    pub(super) exploits: String,
}

/// A file to go on from.
pub(super) fn template(start: &Start) -> String {
    let list = |list: &[String]| {
        if list.is_empty() {
            return "[]".to_owned();
        }
        let lines: String = list.iter().map(|one| format!("    {},\n", quoted(one))).collect();
        format!("[\n{lines}]")
    };
    format!(
        "# An internal advisory. Fill it in, then:\n\
         #   patchmesh advisory check FILE\n\
         #   patchmesh advisory publish FILE\n\
         # Publishing the same id again makes its next version.\n\n\
         # Lower-case letters, digits, '-', '_' and '.'.\n\
         id = {}\n\
         # One line.\n\
         title = {}\n\
         # critical, important, moderate or low; leave it empty if it isn't rated yet.\n\
         severity = {}\n\
         # What mends it, as `patchmesh update list` shows it; without @VERSION: every version.\n\
         updates = {}\n\
         # The vulnerabilities.\n\
         cves = {}\n\n\
         # What the flaw is, and whom it concerns.\n\
         flaw = \"\"\n\
         # Whether exploits are to be had, and used.\n\
         exploits = {}\n\
         # What finds machines that have the flaw.\n\
         scanners = []\n\
         # What helps until the update is installed.\n\
         workarounds = []\n\
         # What the update is known to break.\n\
         side_effects = []\n",
        quoted(&start.id),
        quoted(&start.title),
        quoted(start.severity.unwrap_or_default()),
        list(&start.updates),
        list(&start.cves),
        quoted(&start.exploits),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Start {
        Start {
            id: "2026-014-openssl".to_owned(),
            title: "OpenSSL: \"quotes\"\\ and more".to_owned(),
            severity: Some("critical"),
            updates: vec!["v:bookworm/openssl@3.0.15-1".to_owned()],
            cves: vec!["CVE-2024-5535".to_owned()],
            exploits: "Known to be exploited since 2024-03-04.".to_owned(),
        }
    }

    #[test]
    fn a_template_that_is_filled_in_can_be_published() {
        let text = template(&start());
        let refused = parse(&text).expect_err("not filled in");
        assert!(refused.contains("`flaw` is empty"), "{refused}");
        let filled =
            text.replace("flaw = \"\"", "flaw = \"\"\"\nA length\nis not checked.\n\"\"\"");
        let advisory = parse(&filled).expect("an advisory");
        assert_eq!(advisory.title, start().title);
        assert_eq!(advisory.flaw, "A length\nis not checked.");
        assert_eq!(advisory.cves.len(), 1);
        assert!(parse(&template(&Start::default())).is_err());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let good = template(&start()).replace("flaw = \"\"", "flaw = \"x\"");
        let number =
            |part: &str| good.lines().position(|line| line.contains(part)).expect("there") + 1;
        let said = |from: &str, to: &str| {
            assert!(good.contains(from), "{from}");
            parse(&good.replacen(from, to, 1)).expect_err("refused")
        };
        let place = format!("line {}", number("scanners ="));
        let unknown = said("scanners =", "scaners =");
        assert!(unknown.contains(&place) && unknown.contains("scaners"), "{unknown}");
        let place = format!("line {}", number("CVE-2024-5535"));
        assert!(said("CVE-2024-5535", "CVE-5535").starts_with(&place));
        let place = format!("line {}", number("id ="));
        assert!(said("2026-014-openssl", "Not A Name").starts_with(&place));
        let place = format!("line {}", number("severity ="));
        assert!(said("\"critical\"", "\"urgent\"").starts_with(&place));
        assert!(said("exploits =", "#exploits =").contains("exploits"));
    }
}
