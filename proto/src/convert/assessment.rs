//! Assessments.

use std::collections::BTreeSet;

use jiff::civil::Date;
use patchmesh_topology::assessment::{
    Assessment, CveId, Cvss, Epss, Exploited, Exposure, Judgement, MAX_LINKS, MAX_VULNERABILITIES,
    Risk, Score, Share, Stated, Vulnerability,
};
use patchmesh_topology::revision::RevisionId;

use super::{At, Error, Fault, each, severity, sorted, time, timestamp_to_wire};
use crate::wire;

/// A day such as `2024-03-04`.
fn date(text: &str) -> Result<Date, Error> {
    let is_form = text.len() == 10 && text.is_ascii();
    text.parse().ok().filter(|_| is_form).ok_or_else(|| Fault::Time.into())
}

fn cve(text: &str) -> Result<CveId, Error> {
    Ok(text.parse::<CveId>()?)
}

/// Vulnerabilities' names, sorted and each once.
pub(super) fn cves(field: &str, list: Vec<String>) -> Result<BTreeSet<CveId>, Error> {
    let read = each(field, list, |text| Ok((cve(&text)?, ())))?;
    let read: Vec<(CveId, ())> = sorted(field, read)?;
    Ok(read.into_iter().map(|(cve, ())| cve).collect())
}

fn risk(value: i32) -> Result<Risk, Error> {
    let unknown = || Error::from(Fault::Word { kind: "risk", value });
    Ok(match wire::Risk::try_from(value).map_err(|_| unknown())? {
        wire::Risk::Unspecified => return Err(Fault::Missing.into()),
        wire::Risk::NotApplicable => Risk::NotApplicable,
        wire::Risk::None => Risk::None,
        wire::Risk::Low => Risk::Low,
        wire::Risk::Moderate => Risk::Moderate,
        wire::Risk::Important => Risk::Important,
        wire::Risk::Critical => Risk::Critical,
    })
}

impl From<Risk> for wire::Risk {
    fn from(risk: Risk) -> Self {
        match risk {
            Risk::NotApplicable => Self::NotApplicable,
            Risk::None => Self::None,
            Risk::Low => Self::Low,
            Risk::Moderate => Self::Moderate,
            Risk::Important => Self::Important,
            Risk::Critical => Self::Critical,
        }
    }
}

impl TryFrom<wire::Assessment> for (RevisionId, Assessment) {
    type Error = Error;

    fn try_from(value: wire::Assessment) -> Result<Self, Error> {
        if value.vulnerabilities.len() > MAX_VULNERABILITIES {
            return Err(Fault::Many(MAX_VULNERABILITIES)).at("vulnerabilities");
        }
        let vulnerabilities =
            each("vulnerabilities", value.vulnerabilities, <(CveId, Vulnerability)>::try_from)?;
        let assessment = Assessment {
            vendor: severity(value.vendor_severity).at("vendor_severity")?,
            vulnerabilities: sorted("vulnerabilities", vulnerabilities)?,
            omitted: value.omitted,
            judgement: value.judgement.map(Judgement::try_from).transpose().at("judgement")?,
        };
        Ok((value.revision.parse().at("revision")?, assessment))
    }
}

impl From<(&RevisionId, &Assessment)> for wire::Assessment {
    fn from((revision, assessment): (&RevisionId, &Assessment)) -> Self {
        let vendor = assessment.vendor.map_or(wire::Severity::Unspecified, Into::into);
        Self {
            revision: revision.to_string(),
            vendor_severity: vendor.into(),
            vulnerabilities: assessment.vulnerabilities.iter().map(Into::into).collect(),
            omitted: assessment.omitted,
            judgement: assessment.judgement.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<wire::Vulnerability> for (CveId, Vulnerability) {
    type Error = Error;

    fn try_from(value: wire::Vulnerability) -> Result<Self, Error> {
        if value.links.len() > MAX_LINKS {
            return Err(Fault::Many(MAX_LINKS)).at("links");
        }
        let links = value.links.into_iter().map(|link| (link, ())).collect();
        let links: Vec<(String, ())> = sorted("links", links)?;
        let source = value.severity_source;
        let rated = severity(value.severity).at("severity")?;
        let vulnerability = Vulnerability {
            severity: rated.map(|what| Stated { what, source }),
            cvss: value.cvss.map(cvss).transpose().at("cvss")?,
            exploited: value.exploited.map(exploited).transpose().at("exploited")?,
            epss: value.epss.map(epss).transpose().at("epss")?,
            links: links.into_iter().map(|(link, ())| link).collect(),
        };
        Ok((cve(&value.cve).at("cve")?, vulnerability))
    }
}

impl From<(&CveId, &Vulnerability)> for wire::Vulnerability {
    fn from((cve, one): (&CveId, &Vulnerability)) -> Self {
        let rated = one.severity.as_ref();
        let severity = rated.map_or(wire::Severity::Unspecified, |stated| stated.what.into());
        let date = |date: &Date| date.to_string();
        Self {
            cve: cve.to_string(),
            severity: severity.into(),
            severity_source: rated.map(|stated| stated.source.clone()).unwrap_or_default(),
            cvss: one.cvss.as_ref().map(|stated| wire::Cvss {
                tenths: stated.what.score.map(|score| score.tenths().into()),
                vector: stated.what.vector.clone(),
                source: stated.source.clone(),
            }),
            exploited: one.exploited.as_ref().map(|stated| wire::Exploited {
                added: date(&stated.what.added),
                due: stated.what.due.as_ref().map(date).unwrap_or_default(),
                ransomware: stated.what.ransomware,
                source: stated.source.clone(),
            }),
            epss: one.epss.as_ref().map(|stated| wire::Epss {
                score: stated.what.score.millionths(),
                percentile: stated.what.percentile.millionths(),
                date: date(&stated.what.date),
                source: stated.source.clone(),
            }),
            links: one.links.iter().cloned().collect(),
        }
    }
}

fn cvss(value: wire::Cvss) -> Result<Stated<Cvss>, Error> {
    let score = |tenths: u32| {
        let score = u8::try_from(tenths).ok().and_then(Score::from_tenths);
        score.ok_or(Fault::Range).at("tenths")
    };
    let what = Cvss { score: value.tenths.map(score).transpose()?, vector: value.vector };
    Ok(Stated { what, source: value.source })
}

fn exploited(value: wire::Exploited) -> Result<Stated<Exploited>, Error> {
    let due = (!value.due.is_empty()).then(|| date(&value.due).at("due")).transpose()?;
    let added = date(&value.added).at("added")?;
    Ok(Stated {
        what: Exploited { added, due, ransomware: value.ransomware },
        source: value.source,
    })
}

fn epss(value: wire::Epss) -> Result<Stated<Epss>, Error> {
    let share = |millionths| Share::from_millionths(millionths).ok_or(Fault::Range);
    let what = Epss {
        score: share(value.score).at("score")?,
        percentile: share(value.percentile).at("percentile")?,
        date: date(&value.date).at("date")?,
    };
    Ok(Stated { what, source: value.source })
}

impl TryFrom<wire::Judgement> for Judgement {
    type Error = Error;

    fn try_from(value: wire::Judgement) -> Result<Self, Error> {
        Ok(Self {
            risk: risk(value.risk).at("risk")?,
            exposure: value.exposure.map(|exposure| match exposure {
                wire::judgement::Exposure::Machines(count) => Exposure::Machines(count),
                wire::judgement::Exposure::Text(text) => Exposure::Text(text),
            }),
            by: value.by,
            at: time(value.at).at("at")?,
            note: value.note,
        })
    }
}

impl From<&Judgement> for wire::Judgement {
    fn from(judgement: &Judgement) -> Self {
        Self {
            risk: wire::Risk::from(judgement.risk).into(),
            exposure: judgement.exposure.as_ref().map(|exposure| match exposure {
                Exposure::Machines(count) => wire::judgement::Exposure::Machines(*count),
                Exposure::Text(text) => wire::judgement::Exposure::Text(text.clone()),
            }),
            by: judgement.by.clone(),
            at: Some(timestamp_to_wire(judgement.at)),
            note: judgement.note.clone(),
        }
    }
}
