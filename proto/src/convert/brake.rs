//! Brakes.

use patchmesh_topology::name::BrakeName;
use patchmesh_topology::rollout::Brake;
use patchmesh_topology::rollout::brake::Subject;

use super::{At, Error, Fault, time, timestamp_to_wire};
use crate::replication as wire;

impl TryFrom<wire::Brake> for (BrakeName, Brake) {
    type Error = Error;

    fn try_from(value: wire::Brake) -> Result<Self, Error> {
        let subject = match [value.rollout.as_str(), &value.update, &value.revision] {
            ["", "", ""] => Subject::All,
            [rollout, "", ""] => Subject::Rollout(rollout.parse().at("rollout")?),
            ["", update, ""] => Subject::Update(update.parse().at("update")?),
            ["", "", revision] => Subject::Revision(revision.parse().at("revision")?),
            _ => return Err(Fault::Contradiction("another subject")).at("rollout"),
        };
        let brake = Brake {
            subject,
            reason: value.reason,
            by: value.by,
            since: time(value.since).at("since")?,
            until: time(value.until).at("until")?,
        };
        Ok((value.name.parse().at("name")?, brake))
    }
}

impl From<(&BrakeName, &Brake)> for wire::Brake {
    fn from((name, brake): (&BrakeName, &Brake)) -> Self {
        let mut value = Self {
            name: name.to_string(),
            reason: brake.reason.clone(),
            by: brake.by.clone(),
            since: Some(timestamp_to_wire(brake.since)),
            until: Some(timestamp_to_wire(brake.until)),
            ..Self::default()
        };
        match &brake.subject {
            Subject::All => {}
            Subject::Rollout(rollout) => value.rollout = rollout.to_string(),
            Subject::Update(update) => value.update = update.to_string(),
            Subject::Revision(revision) => value.revision = revision.to_string(),
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_brake_comes_back_as_it_went() {
        let name: BrakeName = "stocktaking".parse().expect("a name");
        let at = |second| Timestamp::from_second(second).expect("a time");
        let subjects = [
            Subject::All,
            Subject::Rollout("spring".parse().expect("a rollout")),
            Subject::Update("v:stable/openssl".parse().expect("an update")),
            Subject::Revision("v:stable/openssl@3".parse().expect("a revision")),
        ];
        for subject in subjects {
            let (reason, by) = ("counting".to_owned(), "ada".to_owned());
            let brake = Brake { subject, reason, by, since: at(1), until: at(2) };
            let back = wire::Brake::from((&name, &brake)).try_into();
            assert_eq!(back.ok(), Some((name.clone(), brake)));
        }
        assert!(<(BrakeName, Brake)>::try_from(wire::Brake::default()).is_err());
    }
}
