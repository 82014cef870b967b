//! What vendors state of a revision beyond its files.

use jiff::SignedDuration;
use patchmesh_topology::applicability::{Detection, Rule};
use patchmesh_topology::revision::{
    Classification, Facts, Installer, InstallerKind, Reboot, Reference, Severity,
};

use super::{At, Error, Fault, each};
use crate::wire;

/// A classification from a field's number; `None` for the unspecified.
///
/// # Errors
/// It stands for none.
pub fn classification(value: i32) -> Result<Option<Classification>, Error> {
    use wire::Classification as Wire;
    let known = Wire::try_from(value)
        .map_err(|_| Error::from(Fault::Word { kind: "classification", value }))?;
    Ok(Some(match known {
        Wire::Unspecified => return Ok(None),
        Wire::Security => Classification::Security,
        Wire::Critical => Classification::Critical,
        Wire::Rollup => Classification::Rollup,
        Wire::ServicePack => Classification::ServicePack,
        Wire::FeaturePack => Classification::FeaturePack,
        Wire::Definition => Classification::Definition,
        Wire::Driver => Classification::Driver,
        Wire::Application => Classification::Application,
        Wire::Tool => Classification::Tool,
        Wire::Update => Classification::Update,
    }))
}

impl From<Classification> for wire::Classification {
    fn from(one: Classification) -> Self {
        match one {
            Classification::Security => Self::Security,
            Classification::Critical => Self::Critical,
            Classification::Rollup => Self::Rollup,
            Classification::ServicePack => Self::ServicePack,
            Classification::FeaturePack => Self::FeaturePack,
            Classification::Definition => Self::Definition,
            Classification::Driver => Self::Driver,
            Classification::Application => Self::Application,
            Classification::Tool => Self::Tool,
            Classification::Update => Self::Update,
        }
    }
}

/// A severity from a field's number; `None` for the unspecified.
///
/// # Errors
/// It stands for none.
pub fn severity(value: i32) -> Result<Option<Severity>, Error> {
    use wire::Severity as Wire;
    let known =
        Wire::try_from(value).map_err(|_| Error::from(Fault::Word { kind: "severity", value }))?;
    Ok(Some(match known {
        Wire::Unspecified => return Ok(None),
        Wire::Low => Severity::Low,
        Wire::Moderate => Severity::Moderate,
        Wire::Important => Severity::Important,
        Wire::Critical => Severity::Critical,
    }))
}

impl From<Severity> for wire::Severity {
    fn from(one: Severity) -> Self {
        match one {
            Severity::Low => Self::Low,
            Severity::Moderate => Self::Moderate,
            Severity::Important => Self::Important,
            Severity::Critical => Self::Critical,
        }
    }
}

fn reboot(value: i32) -> Result<Reboot, Error> {
    match wire::Reboot::try_from(value) {
        Ok(wire::Reboot::Unspecified) => Ok(Reboot::Unknown),
        Ok(wire::Reboot::Never) => Ok(Reboot::Never),
        Ok(wire::Reboot::Possible) => Ok(Reboot::Possible),
        Ok(wire::Reboot::Required) => Ok(Reboot::Required),
        Err(_) => Err(Fault::Word { kind: "reboot behaviour", value }.into()),
    }
}

impl From<Reboot> for wire::Reboot {
    fn from(one: Reboot) -> Self {
        match one {
            Reboot::Unknown => Self::Unspecified,
            Reboot::Never => Self::Never,
            Reboot::Possible => Self::Possible,
            Reboot::Required => Self::Required,
        }
    }
}

/// A list that is sorted and has nothing twice.
pub(super) fn ascending<T: Ord>(field: &str, list: Vec<T>) -> Result<Vec<T>, Error> {
    match list.windows(2).position(|pair| pair[0] >= pair[1]) {
        None => Ok(list),
        Some(index) => Err(Fault::Order).at(&format!("{field}[{}]", index + 1)),
    }
}

fn references(field: &str, list: Vec<String>) -> Result<Vec<Reference>, Error> {
    let read = each(field, list, |text| Ok(text.parse::<Reference>()?))?;
    ascending(field, read)
}

impl TryFrom<wire::Facts> for Facts {
    type Error = Error;

    fn try_from(value: wire::Facts) -> Result<Self, Error> {
        let facts = Self {
            classification: classification(value.classification).at("classification")?,
            severity: severity(value.severity).at("severity")?,
            products: ascending("products", value.products)?,
            languages: ascending("languages", value.languages)?,
            cves: ascending("cves", value.cves)?,
            articles: ascending("articles", value.articles)?,
            supersedes: references("supersedes", value.supersedes)?,
            prerequisites: references("prerequisites", value.prerequisites)?,
            installer: value.installer.map(Installer::try_from).transpose().at("installer")?,
            reboot: reboot(value.reboot).at("reboot")?,
            unsigned: value.unsigned,
            detection: value.detection.map(Detection::try_from).transpose().at("detection")?,
        };
        // Only files that are put in place tell without a rule.
        let states_none = facts.detection.as_ref().is_some_and(|one| one.installed.is_none());
        let kind = facts.installer.as_ref().map(|one| one.kind);
        if states_none && kind != Some(InstallerKind::Files) {
            return Err(Fault::Missing).at("detection.installed");
        }
        Ok(facts)
    }
}

impl From<&Facts> for wire::Facts {
    fn from(facts: &Facts) -> Self {
        let names = |list: &[Reference]| list.iter().map(ToString::to_string).collect();
        Self {
            classification: facts
                .classification
                .map_or(wire::Classification::Unspecified, Into::into)
                .into(),
            severity: facts.severity.map_or(wire::Severity::Unspecified, Into::into).into(),
            products: facts.products.clone(),
            languages: facts.languages.clone(),
            cves: facts.cves.clone(),
            articles: facts.articles.clone(),
            supersedes: names(&facts.supersedes),
            prerequisites: names(&facts.prerequisites),
            installer: facts.installer.as_ref().map(Into::into),
            reboot: wire::Reboot::from(facts.reboot).into(),
            unsigned: facts.unsigned,
            detection: facts.detection.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<wire::Detection> for Detection {
    type Error = Error;

    fn try_from(value: wire::Detection) -> Result<Self, Error> {
        let applies = match value.applies.as_str() {
            "" => None,
            text => Some(text.parse::<Rule>().at("applies")?),
        };
        let installed = match value.installed.as_str() {
            "" => None,
            text => Some(text.parse::<Rule>().at("installed")?),
        };
        Ok(Self { applies, installed })
    }
}

impl From<&Detection> for wire::Detection {
    fn from(detection: &Detection) -> Self {
        let applies = detection.applies.as_ref().map(ToString::to_string);
        let installed = detection.installed.as_ref().map(ToString::to_string);
        Self { applies: applies.unwrap_or_default(), installed: installed.unwrap_or_default() }
    }
}

fn installer_kind(value: i32) -> Result<InstallerKind, Error> {
    match wire::InstallerKind::try_from(value) {
        Ok(wire::InstallerKind::Unspecified) => Ok(InstallerKind::Command),
        Ok(wire::InstallerKind::Rpm) => Ok(InstallerKind::Rpm),
        Ok(wire::InstallerKind::Files) => Ok(InstallerKind::Files),
        Err(_) => Err(Fault::Word { kind: "kind of installer", value }.into()),
    }
}

impl From<InstallerKind> for wire::InstallerKind {
    fn from(one: InstallerKind) -> Self {
        match one {
            InstallerKind::Command => Self::Unspecified,
            InstallerKind::Rpm => Self::Rpm,
            InstallerKind::Files => Self::Files,
        }
    }
}

impl TryFrom<wire::Installer> for Installer {
    type Error = Error;

    fn try_from(value: wire::Installer) -> Result<Self, Error> {
        let time_limit = match value.time_limit_seconds {
            0 => None,
            seconds => {
                let seconds =
                    i64::try_from(seconds).map_err(|_| Fault::Time).at("time_limit_seconds")?;
                Some(SignedDuration::from_secs(seconds))
            }
        };
        let kind = installer_kind(value.kind).at("kind")?;
        Ok(Self {
            kind,
            install: value.install,
            remove: value.remove,
            success: value.success,
            reboot: value.reboot,
            retry: value.retry,
            time_limit,
        })
    }
}

impl From<&Installer> for wire::Installer {
    fn from(installer: &Installer) -> Self {
        let seconds = installer.time_limit.map_or(0, |limit| limit.as_secs().unsigned_abs());
        Self {
            kind: wire::InstallerKind::from(installer.kind).into(),
            install: installer.install.clone(),
            remove: installer.remove.clone(),
            success: installer.success.clone(),
            reboot: installer.reboot.clone(),
            retry: installer.retry.clone(),
            time_limit_seconds: seconds,
        }
    }
}
