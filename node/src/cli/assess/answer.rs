//! Assessments as JSON and for people.

use patchmesh_proto::{admin, wire};
use serde::Serialize;

use crate::cli::answer;
use crate::cli::output::{fields, table};

/// What is known and judged of a revision.
#[derive(Debug, Serialize)]
pub(crate) struct Assessed {
    pub(crate) revision: String,
    /// The effective severity.
    pub(crate) severity: Option<&'static str>,
    /// What the severity is based on.
    pub(crate) basis: Option<String>,
    pub(crate) vendor_severity: Option<&'static str>,
    pub(crate) vulnerabilities: Vec<Vulnerability>,
    pub(crate) omitted: u64,
    pub(crate) judgement: Option<Judgement>,
}

/// What is known of a vulnerability.
#[derive(Debug, Serialize)]
pub(crate) struct Vulnerability {
    pub(crate) cve: String,
    severity: Option<&'static str>,
    severity_source: Option<String>,
    cvss: Option<Cvss>,
    pub(crate) exploited: Option<Exploited>,
    epss: Option<Epss>,
    links: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Cvss {
    score: Option<f64>,
    vector: String,
    source: String,
}

/// A known exploited vulnerability.
#[derive(Debug, Serialize)]
pub(crate) struct Exploited {
    pub(crate) added: String,
    pub(crate) due: Option<String>,
    pub(crate) ransomware: bool,
    source: String,
}

#[derive(Debug, Serialize)]
struct Epss {
    score: f64,
    percentile: f64,
    date: String,
    source: String,
}

/// The company's own judgement.
#[derive(Debug, Serialize)]
pub(crate) struct Judgement {
    pub(crate) risk: &'static str,
    /// A number of machines or a text.
    pub(crate) exposure: Option<serde_json::Value>,
    pub(crate) by: String,
    pub(crate) at: Option<String>,
    pub(crate) note: String,
}

/// The word for a severity; `None` where there is none.
pub(crate) fn severity(severity: wire::Severity) -> Option<&'static str> {
    match severity {
        wire::Severity::Unspecified => None,
        wire::Severity::Low => Some("low"),
        wire::Severity::Moderate => Some("moderate"),
        wire::Severity::Important => Some("important"),
        wire::Severity::Critical => Some("critical"),
    }
}

fn risk(risk: wire::Risk) -> &'static str {
    match risk {
        wire::Risk::Unspecified => "unknown",
        wire::Risk::NotApplicable => "not-applicable",
        wire::Risk::None => "none",
        wire::Risk::Low => "low",
        wire::Risk::Moderate => "moderate",
        wire::Risk::Important => "important",
        wire::Risk::Critical => "critical",
    }
}

/// Millionths as a share of one.
pub(crate) fn share(millionths: u32) -> f64 {
    f64::from(millionths) / 1_000_000.0
}

/// Millionths for people.
pub(crate) fn percent(millionths: u32) -> String {
    format!("{:.2}%", share(millionths) * 100.0)
}

impl From<admin::AssessmentRow> for Assessed {
    fn from(row: admin::AssessmentRow) -> Self {
        let effective = severity(row.severity());
        let assessment = row.assessment.unwrap_or_default();
        Self {
            severity: effective,
            basis: answer::some(row.basis),
            vendor_severity: severity(assessment.vendor_severity()),
            revision: assessment.revision,
            vulnerabilities: assessment.vulnerabilities.into_iter().map(Into::into).collect(),
            omitted: assessment.omitted,
            judgement: assessment.judgement.map(Into::into),
        }
    }
}

impl From<wire::Vulnerability> for Vulnerability {
    fn from(one: wire::Vulnerability) -> Self {
        Self {
            severity: severity(one.severity()),
            severity_source: answer::some(one.severity_source),
            cve: one.cve,
            cvss: one.cvss.map(|cvss| Cvss {
                score: cvss.tenths.map(|tenths| f64::from(tenths) / 10.0),
                vector: cvss.vector,
                source: cvss.source,
            }),
            exploited: one.exploited.map(|exploited| Exploited {
                added: exploited.added,
                due: answer::some(exploited.due),
                ransomware: exploited.ransomware,
                source: exploited.source,
            }),
            epss: one.epss.map(|epss| Epss {
                score: share(epss.score),
                percentile: share(epss.percentile),
                date: epss.date,
                source: epss.source,
            }),
            links: one.links,
        }
    }
}

impl From<wire::Judgement> for Judgement {
    fn from(judgement: wire::Judgement) -> Self {
        use wire::judgement::Exposure;
        Self {
            risk: risk(judgement.risk()),
            exposure: judgement.exposure.map(|exposure| match exposure {
                Exposure::Machines(count) => count.into(),
                Exposure::Text(text) => text.into(),
            }),
            by: judgement.by,
            at: answer::time(judgement.at.as_ref()),
            note: judgement.note,
        }
    }
}

impl Assessed {
    /// Whether there is anything to show.
    pub(crate) fn is_empty(&self) -> bool {
        self.basis.is_none() && self.vulnerabilities.is_empty()
    }

    /// The severity for people: what was judged to be none is rated.
    pub(crate) fn rating(&self) -> String {
        let is_judged = self.severity.is_none() && self.basis.is_some();
        if is_judged { "no risk".to_owned() } else { answer::rating(self.severity) }
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let basis = self.basis.as_ref().map(|basis| format!(" ({basis})"));
        let severity = self.rating() + &basis.unwrap_or_default();
        let judgement = self.judgement.as_ref();
        let exposure =
            judgement.and_then(|one| one.exposure.as_ref()).map(|exposure| {
                match exposure.as_str() {
                    Some(text) => text.to_owned(),
                    None => format!("{exposure} machines"),
                }
            });
        let judged = judgement.map(|one| {
            format!("{} by {} at {}", one.risk, one.by, answer::or_dash(one.at.as_deref()))
        });
        let mut text = fields([
            ("severity", Some(severity)),
            ("vendor", self.vendor_severity.map(str::to_owned)),
            ("judgement", judged),
            ("exposure", exposure),
            ("note", judgement.map(|one| one.note.clone())),
        ]);
        if !self.vulnerabilities.is_empty() {
            let rows = self.vulnerabilities.iter().map(Vulnerability::cells);
            text.push_str(&format!("\n{}", table(Vulnerability::HEADER, rows)));
        }
        if self.omitted > 0 {
            text.push_str(&format!("(and {} less dangerous ones)\n", self.omitted));
        }
        text
    }
}

impl Vulnerability {
    pub(crate) const HEADER: [&str; 6] =
        ["cve", "severity", "cvss", "known exploited", "epss", "stated by"];

    /// The columns.
    pub(crate) fn cells(&self) -> [String; 6] {
        let score = self.cvss.as_ref().map(|cvss| match cvss.score {
            Some(score) => format!("{score:.1}"),
            None => cvss.vector.clone(),
        });
        let exploited = self.exploited.as_ref().map(|one| {
            let due = one.due.as_ref().map(|due| format!(", due {due}")).unwrap_or_default();
            let ransomware = if one.ransomware { ", ransomware" } else { "" };
            format!("{}{due}{ransomware}", one.added)
        });
        let epss = self.epss.as_ref().map(|epss| format!("{:.2}%", epss.score * 100.0));
        [
            self.cve.clone(),
            answer::rating(self.severity),
            answer::or_dash(score.as_deref()),
            answer::or_dash(exploited.as_deref()),
            answer::or_dash(epss.as_deref()),
            answer::or_dash(Some(&self.links.join(", "))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_have_their_words() {
        let row = admin::AssessmentRow {
            assessment: Some(wire::Assessment {
                revision: "v:s/n@1".into(),
                vulnerabilities: vec![wire::Vulnerability {
                    cve: "CVE-2024-21338".into(),
                    cvss: Some(wire::Cvss { tenths: Some(78), ..Default::default() }),
                    exploited: Some(wire::Exploited {
                        added: "2024-03-04".into(),
                        due: "2024-03-25".into(),
                        ransomware: true,
                        source: "kev".into(),
                    }),
                    epss: Some(wire::Epss { score: 943_210, ..Default::default() }),
                    ..Default::default()
                }],
                judgement: Some(wire::Judgement {
                    risk: wire::Risk::NotApplicable.into(),
                    exposure: Some(wire::judgement::Exposure::Machines(12)),
                    note: "\u{1b}[31mnot used".into(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            severity: 0,
            basis: "judgement".into(),
        };
        let assessed = Assessed::from(row);
        let text = assessed.text();
        for part in
            ["no risk (judgement)", "not-applicable", "12 machines", "7.8", "94.32%", "ransomware"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('\u{1b}'), "{text}");
        let json = serde_json::to_value(&assessed).expect("JSON");
        assert_eq!(json["judgement"]["exposure"], 12);
        assert_eq!(json["vulnerabilities"][0]["exploited"]["due"], "2024-03-25");
        assert_eq!(json["severity"], serde_json::Value::Null);
    }
}
