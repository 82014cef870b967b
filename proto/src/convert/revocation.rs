//! Machines that were shut out.

use jiff::Timestamp;
use patchmesh_topology::name::MachineName;

use super::{At, Error, time, timestamp_to_wire};
use crate::wire;

impl TryFrom<wire::Revocation> for (MachineName, Timestamp) {
    type Error = Error;

    fn try_from(value: wire::Revocation) -> Result<Self, Error> {
        Ok((value.machine.parse().at("machine")?, time(value.at).at("at")?))
    }
}

impl From<(&MachineName, &Timestamp)> for wire::Revocation {
    fn from((machine, at): (&MachineName, &Timestamp)) -> Self {
        Self { machine: machine.to_string(), at: Some(timestamp_to_wire(*at)) }
    }
}
