//! What a vendor states of a revision beyond its files, in JSON and for people.

use patchmesh_proto::wire;
use patchmesh_topology::revision::InstallerKind;
use serde::Serialize;

use crate::cli::answer;

/// Everything stated; lists are empty where nothing is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Facts {
    classification: Option<&'static str>,
    severity: Option<&'static str>,
    products: Vec<String>,
    languages: Vec<String>,
    cves: Vec<String>,
    articles: Vec<String>,
    supersedes: Vec<String>,
    prerequisites: Vec<String>,
    installer: Option<Installer>,
    reboot: &'static str,
    /// Rules by which a machine tells whether it is needed and installed.
    detection: Option<Detection>,
    /// Whether nobody signed these statements.
    pub(super) unsigned: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Detection {
    applies: Option<String>,
    /// None: where all its files are.
    installed: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Installer {
    kind: &'static str,
    install: Vec<String>,
    remove: Vec<String>,
    success: Vec<i32>,
    reboot: Vec<i32>,
    retry: Vec<i32>,
    time_limit_seconds: Option<u64>,
}

impl From<wire::Facts> for Facts {
    fn from(facts: wire::Facts) -> Self {
        let kind = facts.classification();
        let is_stated = kind != wire::Classification::Unspecified;
        Self {
            classification: is_stated.then(|| answer::classification(kind)),
            severity: answer::severity(facts.severity()),
            reboot: match facts.reboot() {
                wire::Reboot::Unspecified => "unknown",
                wire::Reboot::Never => "never",
                wire::Reboot::Possible => "possible",
                wire::Reboot::Required => "required",
            },
            products: facts.products,
            languages: facts.languages,
            cves: facts.cves,
            articles: facts.articles,
            supersedes: facts.supersedes,
            prerequisites: facts.prerequisites,
            installer: facts.installer.map(Installer::from),
            detection: facts.detection.map(|one| Detection {
                applies: (!one.applies.is_empty()).then_some(one.applies),
                installed: answer::some(one.installed),
            }),
            unsigned: facts.unsigned,
        }
    }
}

impl From<wire::Installer> for Installer {
    fn from(one: wire::Installer) -> Self {
        let kind = match one.kind() {
            wire::InstallerKind::Unspecified => InstallerKind::Command,
            wire::InstallerKind::Rpm => InstallerKind::Rpm,
            wire::InstallerKind::Files => InstallerKind::Files,
        };
        Self {
            kind: kind.as_str(),
            install: one.install,
            remove: one.remove,
            success: one.success,
            reboot: one.reboot,
            retry: one.retry,
            time_limit_seconds: (one.time_limit_seconds > 0).then_some(one.time_limit_seconds),
        }
    }
}

impl Facts {
    /// What is stated, by name, for people.
    pub(super) fn rows(&self) -> Vec<(&'static str, Option<String>)> {
        let list = |list: &[String]| (!list.is_empty()).then(|| list.join(", "));
        let word = |word: Option<&str>| word.map(str::to_owned);
        let call = |arguments: &[String]| (!arguments.is_empty()).then(|| arguments.join(" "));
        let installer = self.installer.as_ref();
        vec![
            ("classification", word(self.classification)),
            ("severity", word(self.severity)),
            ("products", list(&self.products)),
            ("languages", list(&self.languages)),
            ("cves", list(&self.cves)),
            ("articles", list(&self.articles)),
            ("supersedes", list(&self.supersedes)),
            ("needs", list(&self.prerequisites)),
            ("installer", installer.map(|one| one.kind.to_owned())),
            ("install", installer.and_then(|one| call(&one.install))),
            ("remove", installer.and_then(|one| call(&one.remove))),
            ("applies", self.detection.as_ref().and_then(|one| one.applies.clone())),
            ("installed", self.detection.as_ref().and_then(|one| one.installed.clone())),
            ("reboot", (self.reboot != "unknown").then(|| self.reboot.to_owned())),
            (
                "signature",
                self.unsigned.then(|| "none: nobody vouches for what is stated".to_owned()),
            ),
        ]
    }
}
