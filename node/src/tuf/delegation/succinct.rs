//! Delegation to bins by path digest (TAP 15): one short entry instead of thousands.

use std::num::NonZeroU32;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::super::key::KeyId;
use super::super::name::{RoleName, TargetPath};
use super::{Error, Holders};

/// Bins named `PREFIX-HEX`, between which paths are divided by the leading bits of their SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawSuccinctRoles", into = "RawSuccinctRoles")]
pub struct SuccinctRoles {
    pub(super) holders: Holders,
    bit_length: u32,
    name_prefix: String,
}

#[derive(Serialize, Deserialize)]
struct RawSuccinctRoles {
    keyids: Vec<KeyId>,
    threshold: NonZeroU32,
    bit_length: u32,
    name_prefix: String,
}

impl SuccinctRoles {
    /// How many bins there are, at most 2³².
    pub fn count(&self) -> u64 {
        1 << self.bit_length
    }

    pub(super) fn bin_of(&self, path: &TargetPath) -> RoleName {
        let digest = digest(&SHA256, path.as_str().as_bytes());
        let leading =
            digest.as_ref().iter().take(4).fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte));
        self.name_of(u64::from(leading) >> (32 - self.bit_length))
    }

    pub(super) fn name_of(&self, bin: u64) -> RoleName {
        // As many hexadecimal digits as the last bin needs.
        let width = self.bit_length.div_ceil(4) as usize;
        RoleName::joined(&self.name_prefix, &format!("{bin:0width$x}"))
    }

    pub(super) fn contains(&self, role: &RoleName) -> bool {
        let bin =
            role.as_str().strip_prefix(&self.name_prefix).and_then(|rest| rest.strip_prefix('-'));
        bin.and_then(|bin| u64::from_str_radix(bin, 16).ok())
            .is_some_and(|bin| bin < self.count() && self.name_of(bin) == *role)
    }
}

impl TryFrom<RawSuccinctRoles> for SuccinctRoles {
    type Error = Error;

    fn try_from(raw: RawSuccinctRoles) -> Result<Self, Error> {
        if !(1..=32).contains(&raw.bit_length) {
            return Err(Error::BitLength(raw.bit_length));
        }
        let holders = Holders::new(raw.keyids, raw.threshold)?;
        Ok(Self { holders, bit_length: raw.bit_length, name_prefix: raw.name_prefix })
    }
}

impl From<SuccinctRoles> for RawSuccinctRoles {
    fn from(bins: SuccinctRoles) -> Self {
        Self {
            keyids: bins.holders.keyids().to_vec(),
            threshold: bins.holders.threshold(),
            bit_length: bins.bit_length,
            name_prefix: bins.name_prefix,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuf::fixture::path;
    use serde_json::json;

    #[test]
    fn bins_are_named_as_in_tap_15() {
        let bins: SuccinctRoles = serde_json::from_value(
            json!({"keyids": [], "threshold": 1, "bit_length": 5, "name_prefix": "bin"}),
        )
        .unwrap();
        assert_eq!(bins.count(), 32);
        assert_eq!(bins.name_of(31).as_str(), "bin-1f");
        assert_eq!(bins.name_of(0).as_str(), "bin-00");
        // SHA-256 of "a" begins with ca: 11001010, so the first five bits are 11001.
        assert_eq!(bins.bin_of(&path("a")).as_str(), "bin-19");
        assert!(bins.contains(&bins.name_of(31)));
        for other in ["bin-20", "bin-1F", "bin-1", "bin-+1", "bin", "other-00"] {
            assert!(!bins.contains(&RoleName::new(other).unwrap()), "{other}");
        }
    }
}
