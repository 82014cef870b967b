//! Advisories.

use std::collections::BTreeSet;

use patchmesh_topology::advisory::{
    Advisory, AdvisorySet, Entry, MAX_ADVISORIES, MAX_VERSIONS, Withdrawal,
};
use patchmesh_topology::name::AdvisoryName;
use patchmesh_topology::revision::{DocumentRef, Reference};

use super::assessment::cves;
use super::{At, Error, Fault, each, severity, sorted, time, timestamp_to_wire};
use crate::wire;

impl TryFrom<wire::AdvisoryIndex> for AdvisorySet {
    type Error = Error;

    fn try_from(value: wire::AdvisoryIndex) -> Result<Self, Error> {
        if value.entries.len() > MAX_ADVISORIES {
            return Err(Fault::Many(MAX_ADVISORIES)).at("entries");
        }
        let entries = each("entries", value.entries, <(AdvisoryName, Entry)>::try_from)?;
        Ok(Self { version: value.version, entries: sorted("entries", entries)? })
    }
}

impl From<&AdvisorySet> for wire::AdvisoryIndex {
    fn from(set: &AdvisorySet) -> Self {
        Self { version: set.version, entries: set.entries.iter().map(Into::into).collect() }
    }
}

impl TryFrom<wire::AdvisoryEntry> for (AdvisoryName, Entry) {
    type Error = Error;

    fn try_from(value: wire::AdvisoryEntry) -> Result<Self, Error> {
        match value.versions.len() {
            0 => return Err(Fault::Missing).at("versions"),
            1..=MAX_VERSIONS => {}
            _ => return Err(Fault::Many(MAX_VERSIONS)).at("versions"),
        }
        let entry = Entry {
            title: value.title,
            severity: severity(value.severity).at("severity")?,
            published_at: time(value.published_at).at("published_at")?,
            versions: each("versions", value.versions, DocumentRef::try_from)?,
            withdrawn: value.withdrawn.map(Withdrawal::try_from).transpose().at("withdrawn")?,
        };
        Ok((value.name.parse().at("name")?, entry))
    }
}

impl From<(&AdvisoryName, &Entry)> for wire::AdvisoryEntry {
    fn from((name, entry): (&AdvisoryName, &Entry)) -> Self {
        Self {
            name: name.to_string(),
            title: entry.title.clone(),
            severity: entry.severity.map_or(wire::Severity::Unspecified, Into::into).into(),
            published_at: Some(timestamp_to_wire(entry.published_at)),
            versions: entry.versions.iter().map(Into::into).collect(),
            withdrawn: entry.withdrawn.as_ref().map(|withdrawn| wire::Withdrawal {
                by: withdrawn.by.clone(),
                at: Some(timestamp_to_wire(withdrawn.at)),
                comment: withdrawn.comment.clone(),
            }),
        }
    }
}

impl TryFrom<wire::Withdrawal> for Withdrawal {
    type Error = Error;

    fn try_from(value: wire::Withdrawal) -> Result<Self, Error> {
        Ok(Self { by: value.by, at: time(value.at).at("at")?, comment: value.comment })
    }
}

impl TryFrom<wire::Advisory> for Advisory {
    type Error = Error;

    fn try_from(value: wire::Advisory) -> Result<Self, Error> {
        if value.version == 0 {
            return Err(Fault::Missing).at("version");
        }
        let updates = each("updates", value.updates, |text| Ok((text.parse::<Reference>()?, ())))?;
        let updates: Vec<(Reference, ())> = sorted("updates", updates)?;
        let updates: BTreeSet<_> = updates.into_iter().map(|(update, ())| update).collect();
        Ok(Self {
            name: value.name.parse().at("name")?,
            version: value.version,
            title: value.title,
            severity: severity(value.severity).at("severity")?,
            updates,
            cves: cves("cves", value.cves)?,
            flaw: value.flaw,
            exploits: value.exploits,
            scanners: value.scanners,
            workarounds: value.workarounds,
            side_effects: value.side_effects,
            author: value.author,
            published_at: time(value.published_at).at("published_at")?,
        })
    }
}

impl From<&Advisory> for wire::Advisory {
    fn from(advisory: &Advisory) -> Self {
        Self {
            name: advisory.name.to_string(),
            version: advisory.version,
            title: advisory.title.clone(),
            severity: advisory.severity.map_or(wire::Severity::Unspecified, Into::into).into(),
            updates: advisory.updates.iter().map(ToString::to_string).collect(),
            cves: advisory.cves.iter().map(ToString::to_string).collect(),
            flaw: advisory.flaw.clone(),
            exploits: advisory.exploits.clone(),
            scanners: advisory.scanners.clone(),
            workarounds: advisory.workarounds.clone(),
            side_effects: advisory.side_effects.clone(),
            author: advisory.author.clone(),
            published_at: Some(timestamp_to_wire(advisory.published_at)),
        }
    }
}
