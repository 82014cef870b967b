//! A share of machines: the same machines on every node, and every larger
//! share holds the smaller ones.

use std::fmt;
use std::str::FromStr;

use crate::name::{MachineName, RolloutName};

/// Ten thousandths in a whole.
pub(crate) const WHOLE: u16 = 10_000;

/// Tells these hashes from all others.
const DOMAIN: &[u8] = b"patchmesh rollout share v1\0";

/// A share, in hundredths of a percent, from 0 to all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u16);

/// Why a text is no share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no share; write percent with at most two decimals, such as `5 %` or `0.25 %`")]
pub struct NoShare(pub String);

impl Share {
    /// Every machine.
    pub const ALL: Self = Self(WHOLE);
    /// None.
    pub const NONE: Self = Self(0);

    /// So many ten thousandths; `None` above all.
    #[must_use]
    pub const fn from_ten_thousandths(parts: u16) -> Option<Self> {
        if parts <= WHOLE { Some(Self(parts)) } else { None }
    }

    /// Ten thousandths.
    #[must_use]
    pub const fn ten_thousandths(self) -> u16 {
        self.0
    }

    /// Whether a machine belongs to this share of a rollout's machines.
    #[must_use]
    pub fn holds(self, rollout: &RolloutName, machine: &MachineName) -> bool {
        self == Self::ALL || bucket(rollout, machine) < self.0
    }

    /// Whether `part` of `whole` is at least this share. Of nothing it is not.
    #[must_use]
    pub fn is_reached_by(self, part: u64, whole: u64) -> bool {
        whole > 0 && u128::from(part) * u128::from(WHOLE) >= u128::from(whole) * u128::from(self.0)
    }

    /// Whether `part` of `whole` is more than this share.
    #[must_use]
    pub fn is_exceeded_by(self, part: u64, whole: u64) -> bool {
        u128::from(part) * u128::from(WHOLE) > u128::from(whole) * u128::from(self.0)
    }
}

/// The machine's place among a rollout's machines, from 0 to 9,999.
#[must_use]
pub fn bucket(rollout: &RolloutName, machine: &MachineName) -> u16 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(DOMAIN).update(rollout.as_str().as_bytes()).update(b"\0");
    hasher.update(machine.as_str().as_bytes());
    let [a, b, c, d, ..] = *hasher.finalize().as_bytes();
    let place = (u64::from(u32::from_le_bytes([a, b, c, d])) * u64::from(WHOLE)) >> 32;
    // Below the whole, since the factor is below one.
    u16::try_from(place).unwrap_or(WHOLE - 1)
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        let text = match rest {
            0 => format!("{whole} %"),
            _ if rest % 10 == 0 => format!("{whole}.{} %", rest / 10),
            _ => format!("{whole}.{rest:02} %"),
        };
        f.pad(&text)
    }
}

impl FromStr for Share {
    type Err = NoShare;

    fn from_str(text: &str) -> Result<Self, NoShare> {
        let fault = || NoShare(text.to_owned());
        let number = text.trim().strip_suffix('%').ok_or_else(fault)?.trim_end();
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let is_whole = (1..=3).contains(&whole.len()) && is_plain(whole);
        let is_decimal = decimals.len() <= 2 && is_plain(decimals) && !number.ends_with('.');
        if !is_whole || !is_decimal {
            return Err(fault());
        }
        let parts = format!("{whole}{decimals:0<2}").parse().map_err(|_| fault())?;
        Self::from_ten_thousandths(parts).ok_or_else(fault)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn machine(name: &str) -> MachineName {
        name.parse().expect("a name")
    }

    #[test]
    fn texts_are_percent() {
        for (text, parts) in [("5 %", 500), ("0.25 %", 25), ("100%", 10_000), ("2.5 %", 250)] {
            assert_eq!(text.parse::<Share>().map(Share::ten_thousandths), Ok(parts), "{text}");
        }
        for text in ["5", "101 %", "-1 %", "1e1 %", "0.125 %", " %", "5. %", "1000 %", "٥ %"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn about_that_share_of_machines_is_in_it() {
        let rollout: RolloutName = "spring".parse().expect("a name");
        let share: Share = "5 %".parse().expect("a share");
        let held =
            (0..20_000).filter(|n| share.holds(&rollout, &machine(&format!("pc-{n}")))).count();
        // The mean is 1,000, its standard deviation 31.
        assert!((850..1_150).contains(&held), "{held}");
    }

    proptest! {
        #[test]
        fn larger_shares_hold_the_smaller(a in 0..=10_000_u16, b in 0..=10_000_u16, name in "[a-z]{1,9}") {
            let rollout: RolloutName = "spring".parse().expect("a name");
            let (small, large) = (Share(a.min(b)), Share(a.max(b)));
            let name = machine(&name);
            prop_assert!(!small.holds(&rollout, &name) || large.holds(&rollout, &name));
            prop_assert!(Share::ALL.holds(&rollout, &name) && !Share::NONE.holds(&rollout, &name));
            prop_assert_eq!(small.to_string().parse::<Share>(), Ok(small));
        }

        #[test]
        fn a_part_is_at_least_or_below(part in 0..500_u64, more in 1..500_u64, share in 0..=10_000_u16) {
            let whole = part + more;
            let exact = part as f64 / whole as f64 * 10_000.0;
            prop_assert_eq!(Share(share).is_reached_by(part, whole), exact + 1e-7 >= f64::from(share));
        }
    }
}
