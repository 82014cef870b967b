//! A limit over time. Whoever finds the balance not in debt may pass, whatever
//! the size, and the balance pays: so a limit is kept on average to the byte,
//! and never overdrawn by more than what passed last.

use std::time::Duration;

use super::rate::Rate;

/// What an idle line saves up: enough to make up for a timer that fires late,
/// little enough not to be seen.
const SAVED: Duration = Duration::from_millis(25);

/// The most that traffic which asks nobody is held against those who ask; beyond
/// it they would wait for what is long past.
const LONGEST_DEBT: Duration = Duration::from_secs(10);

/// What is left of a debt when the limit changes: it was made under another one.
const CARRIED_DEBT: Duration = Duration::from_millis(250);

/// A second in nanoseconds; balances count billionths of bits, so that nothing
/// is lost to rounding.
const SCALE: i128 = 1_000_000_000;

/// One limit and how much of it is used up. Time is a duration since any start.
#[derive(Debug, Clone)]
pub struct Bucket {
    rate: Rate,
    balance: i128,
    at: Duration,
}

impl Default for Bucket {
    fn default() -> Self {
        Self { rate: Rate::UNLIMITED, balance: 0, at: Duration::ZERO }
    }
}

impl Bucket {
    /// The limit.
    #[must_use]
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// Changes the limit.
    pub fn set_rate(&mut self, rate: Rate, now: Duration) {
        if rate == self.rate {
            return;
        }
        self.settle(now);
        self.rate = rate;
        self.balance = self.balance.clamp(-self.worth(CARRIED_DEBT), 0);
    }

    /// When something may pass; not later than `now` if it may already.
    #[must_use]
    pub fn ready_at(&self, now: Duration) -> Duration {
        let (Some(bits), balance) = (self.rate.bits(), self.balance_at(now)) else { return now };
        if balance >= 0 {
            return now;
        }
        let nanos = (-balance).div_euclid(i128::from(bits)) + 1;
        now + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Something passes.
    pub fn take(&mut self, bytes: u64, now: Duration) {
        self.settle(now);
        if !self.rate.is_unlimited() {
            self.balance -= i128::from(bytes) * 8 * SCALE;
        }
    }

    /// Something passed that did not ask.
    pub fn charge(&mut self, bytes: u64, now: Duration) {
        let before = self.balance_at(now);
        self.take(bytes, now);
        self.balance = self.balance.max(before.min(-self.worth(LONGEST_DEBT)));
    }

    /// What was taken does not pass after all.
    pub fn give_back(&mut self, bytes: u64, now: Duration) {
        self.settle(now);
        if !self.rate.is_unlimited() {
            self.balance = (self.balance + i128::from(bytes) * 8 * SCALE).min(self.worth(SAVED));
        }
    }

    fn settle(&mut self, now: Duration) {
        self.balance = self.balance_at(now);
        self.at = self.at.max(now);
    }

    fn balance_at(&self, now: Duration) -> i128 {
        let earned = self.worth(now.saturating_sub(self.at));
        (self.balance + earned).min(self.worth(SAVED).max(self.balance))
    }

    fn worth(&self, time: Duration) -> i128 {
        let nanos = i128::try_from(time.as_nanos()).unwrap_or(i128::MAX);
        i128::from(self.rate.bits().unwrap_or_default()).saturating_mul(nanos)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::{prop_assert, proptest};

    use super::{Bucket, SAVED};
    use crate::link::rate::Rate;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn bucket(rate: &str) -> Bucket {
        let mut bucket = Bucket::default();
        bucket.set_rate(rate.parse().expect("a rate"), Duration::ZERO);
        bucket
    }

    #[test]
    fn a_debt_is_waited_for() {
        let mut bucket = bucket("8Mbit/s");
        assert_eq!(bucket.ready_at(ms(0)), ms(0));
        bucket.take(50_000, ms(0));
        let ready = bucket.ready_at(ms(10));
        assert!(ready >= ms(50) && ready < ms(51), "{ready:?}");
        bucket.give_back(50_000, ms(10));
        assert_eq!(bucket.ready_at(ms(10)), ms(10));
    }

    #[test]
    fn a_change_of_the_limit_forgets_what_was_before() {
        let mut bucket = bucket("800Mbit/s");
        bucket.take(100_000_000, ms(0));
        bucket.set_rate("800kbit/s".parse().expect("a rate"), ms(1));
        assert!(bucket.ready_at(ms(1)) <= ms(252), "{:?}", bucket.ready_at(ms(1)));
        bucket.set_rate(Rate::UNLIMITED, ms(2));
        assert_eq!(bucket.ready_at(ms(2)), ms(2));
    }

    #[test]
    fn what_asks_nobody_is_held_against_the_others_for_a_while() {
        let mut bucket = bucket("8Mbit/s");
        bucket.charge(2_000_000, ms(0));
        assert!(bucket.ready_at(ms(0)) >= ms(2000));
        bucket.charge(1 << 40, ms(0));
        assert!(bucket.ready_at(ms(0)) <= ms(10_001));
    }

    proptest! {
        /// Whoever always takes as soon as it may keeps the limit within the last
        /// frame and what was saved up, whatever the sizes and the lateness.
        #[test]
        fn a_limit_is_kept(steps in vec((25_000..100_000_u64, 0..20_u64), 1..200)) {
            let mut bucket = bucket("8Mbit/s");
            let (mut now, mut passed, mut last) = (ms(0), 0, 0);
            for (bytes, late) in steps {
                now = bucket.ready_at(now) + ms(late);
                bucket.take(bytes, now);
                passed += bytes;
                last = bytes;
            }
            let most = bucket.rate().bytes_in(now + SAVED) + last + 1;
            prop_assert!(passed <= most, "{passed} of {most} in {now:?}");
            // And it is used: lateness below what is saved up costs nothing.
            let least = bucket.rate().bytes_in(now);
            prop_assert!(passed + bucket.rate().bytes_in(ms(20)) >= least, "{passed} of {least}");
        }
    }
}
