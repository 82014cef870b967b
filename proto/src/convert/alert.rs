//! Alerts.

use patchmesh_topology::alert::{Alert, Severity};

use super::{At, Error, Fault, time, timestamp_to_wire};
use crate::replication as wire;

/// The weight of an alert from a field's number.
///
/// # Errors
/// It stands for none.
pub fn alert_severity(value: i32) -> Result<Severity, Error> {
    match wire::AlertSeverity::try_from(value) {
        Ok(wire::AlertSeverity::Warning) => Ok(Severity::Warning),
        Ok(wire::AlertSeverity::Critical) => Ok(Severity::Critical),
        Ok(wire::AlertSeverity::Unspecified) => Err(Fault::Missing.into()),
        Err(_) => Err(Fault::Word { kind: "severity of alerts", value }.into()),
    }
}

impl TryFrom<wire::Alert> for (String, Alert) {
    type Error = Error;

    fn try_from(value: wire::Alert) -> Result<Self, Error> {
        let severity = alert_severity(value.severity).at("severity")?;
        let since = time(value.since).at("since")?;
        Ok((value.key, Alert { severity, text: value.text, since }))
    }
}

impl From<(&str, &Alert)> for wire::Alert {
    fn from((key, alert): (&str, &Alert)) -> Self {
        let severity = match alert.severity {
            Severity::Warning => wire::AlertSeverity::Warning,
            Severity::Critical => wire::AlertSeverity::Critical,
        };
        Self {
            key: key.to_owned(),
            severity: severity.into(),
            text: alert.text.clone(),
            since: Some(timestamp_to_wire(alert.since)),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn an_alert_comes_back_as_it_went() {
        let since = Timestamp::from_second(1_790_000_000).expect("a time");
        for severity in [Severity::Warning, Severity::Critical] {
            let alert = Alert { severity, text: "the disk is full".into(), since };
            let back = wire::Alert::from(("disk", &alert)).try_into();
            assert_eq!(back.ok(), Some(("disk".to_owned(), alert)));
        }
        assert!(<(String, Alert)>::try_from(wire::Alert::default()).is_err());
    }
}
