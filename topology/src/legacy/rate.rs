//! Who sends too much status: a bound for each address and one for all.
//!
//! Each bound is the *generic cell rate algorithm* (ITU-T I.371): of everybody one
//! moment is kept, the one at which all that came would be due at the even rate. So
//! what is known of an address that sends nothing ends by itself, and how many are
//! known at a time is bounded by the rate for all.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::book::neighbourhood;

/// From one address: two a second, 60 at once.
const OF_ONE: Even = Even { every: Duration::from_millis(500), at_once: 60 };

/// From everybody: 100 a second, 400 at once.
const OF_ALL: Even = Even { every: Duration::from_millis(10), at_once: 400 };

/// Addresses that are known at a time before those are forgotten that may send again.
const MAX_KNOWN: usize = 8192;

/// An even rate.
struct Even {
    every: Duration,
    at_once: u32,
}

impl Even {
    /// When the next would be due if one more came now; or how long that is too
    /// early.
    fn admit(&self, due: Duration, now: Duration) -> Result<Duration, Duration> {
        let due = due.max(now);
        let early = (due - now).saturating_sub(self.every * (self.at_once - 1));
        if early.is_zero() { Ok(due + self.every) } else { Err(early) }
    }
}

/// Who sent how much lately.
#[derive(Debug, Default)]
pub struct Rate {
    all: Duration,
    each: BTreeMap<IpAddr, Duration>,
}

impl Rate {
    /// Lets one more in; `now` is by a clock that never goes back.
    ///
    /// # Errors
    /// That is too much; when to come again.
    pub fn admit(&mut self, address: IpAddr, now: Duration) -> Result<(), Duration> {
        let address = neighbourhood(address);
        let due = self.each.get(&address).copied().unwrap_or_default();
        let due = OF_ONE.admit(due, now)?;
        self.all = OF_ALL.admit(self.all, now)?;
        if self.each.len() >= MAX_KNOWN {
            self.each.retain(|_, due| *due > now);
        }
        self.each.insert(address, due);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[test]
    fn one_address_leaves_the_others_their_turn() {
        let mut rate = Rate::default();
        let second = Duration::from_secs(1);
        let burst = (0..1000).filter(|_| rate.admit(address(1), second).is_ok()).count();
        assert_eq!(burst, 60);
        assert_eq!(rate.admit(address(1), second), Err(Duration::from_millis(500)));
        assert_eq!(rate.admit(address(2), second), Ok(()));
        assert_eq!(rate.admit(address(1), second + Duration::from_millis(500)), Ok(()));
        let later = (0..1000).filter(|_| rate.admit(address(1), second * 11).is_ok()).count();
        assert_eq!(later, 19, "two a second, and one was taken");
    }

    #[test]
    fn all_together_are_bounded_and_so_is_what_is_known_of_them() {
        let mut rate = Rate::default();
        let mut taken = 0;
        for number in 0..200_000_u32 {
            let now = Duration::from_secs(1) + Duration::from_millis(number.into());
            taken += u32::from(rate.admit(address(number), now).is_ok());
            assert!(rate.each.len() <= MAX_KNOWN, "{}", rate.each.len());
        }
        assert!((20_000..=20_400).contains(&taken), "{taken}");
    }

    #[test]
    fn a_network_of_version_6_is_one_address() {
        let mut rate = Rate::default();
        let of = |number: u16| IpAddr::from([0xfd00, 0, 0, 7, 0, 0, 0, number]);
        let taken = (0..1000).filter(|number| rate.admit(of(*number), Duration::ZERO).is_ok());
        assert_eq!(taken.count(), 60);
    }
}
