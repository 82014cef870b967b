//! Rules.

use jiff::SignedDuration;
use patchmesh_topology::rule::{Policy, Rule};

use super::{At, Error, Fault, classification, each, severity, sorted, stage, time};
use super::{optional_time, timestamp_to_wire};
use crate::wire;

impl TryFrom<wire::Policy> for Policy {
    type Error = Error;

    fn try_from(value: wire::Policy) -> Result<Self, Error> {
        let rules = each("rules", value.rules, |one| {
            time(one.at).at("at")?;
            rule(one).map(|rule| (rule.name.clone(), rule))
        })?;
        Ok(Self { version: value.version, rules: sorted("rules", rules)? })
    }
}

impl From<&Policy> for wire::Policy {
    fn from(policy: &Policy) -> Self {
        Self { version: policy.version, rules: policy.rules.values().map(Into::into).collect() }
    }
}

/// A rule; who asks for a new one need not say when it was written.
///
/// # Errors
/// A field is wrong.
pub fn rule(value: wire::Rule) -> Result<Rule, Error> {
    let classifications = each("classifications", value.classifications, |one| {
        classification(one)?.ok_or_else(|| Fault::Missing.into())
    })?;
    let delay = i64::try_from(value.delay_seconds).map_err(|_| Fault::Time).at("delay_seconds")?;
    Ok(Rule {
        name: value.name.parse().at("name")?,
        stage: stage(value.stage).at("stage")?,
        groups: each("groups", value.groups, |one| Ok(one.parse()?))?.into_iter().collect(),
        classifications: classifications.into_iter().collect(),
        severity: severity(value.severity).at("severity")?,
        products: value.products.into_iter().collect(),
        sources: each("sources", value.sources, |one| Ok(one.parse()?))?.into_iter().collect(),
        name_glob: value.name_glob,
        delay: SignedDuration::from_secs(delay),
        enabled: value.enabled,
        by: value.by,
        at: optional_time(value.at).at("at")?.unwrap_or_default(),
    })
}

impl From<&Rule> for wire::Rule {
    fn from(rule: &Rule) -> Self {
        let names = |names: &mut dyn Iterator<Item = String>| names.collect::<Vec<_>>();
        Self {
            name: rule.name.to_string(),
            stage: wire::Stage::from(rule.stage).into(),
            groups: names(&mut rule.groups.iter().map(ToString::to_string)),
            classifications: rule
                .classifications
                .iter()
                .map(|one| wire::Classification::from(*one).into())
                .collect(),
            severity: rule
                .severity
                .map_or(wire::Severity::Unspecified, wire::Severity::from)
                .into(),
            products: rule.products.iter().cloned().collect(),
            sources: names(&mut rule.sources.iter().map(ToString::to_string)),
            name_glob: rule.name_glob.clone(),
            delay_seconds: u64::try_from(rule.delay.as_secs()).unwrap_or_default(),
            enabled: rule.enabled,
            by: rule.by.clone(),
            at: Some(timestamp_to_wire(rule.at)),
        }
    }
}
