//! How fast something went over the last seconds.

use std::time::Duration;

use super::rate::Rate;

/// Slots of the ring: three seconds of them, so that a rate is steady to read
/// and still follows a change.
const SLOTS: u64 = 12;

/// What one slot covers.
const SLOT: Duration = Duration::from_millis(250);

/// Counts bytes by when they passed. Time is a duration since any start.
#[derive(Debug, Clone, Default)]
pub struct Gauge {
    slots: [u64; SLOTS as usize],
    /// The slot of the last count, in slots since the start.
    last: u64,
    /// When counting began.
    since: Option<Duration>,
}

impl Gauge {
    /// Bytes passed.
    pub fn count(&mut self, bytes: u64, now: Duration) {
        self.since.get_or_insert(now);
        let slot = self.turn_to(now);
        self.slots[slot] += bytes;
    }

    /// Bytes over the last seconds; `None` before anything can be said.
    #[must_use]
    pub fn rate(&self, now: Duration) -> Option<Rate> {
        let since = self.since?;
        let mut turned = self.clone();
        turned.turn_to(now);
        let begin =
            SLOT * u32::try_from(slot_of(now).saturating_sub(SLOTS - 1)).unwrap_or(u32::MAX);
        let within = now.saturating_sub(begin.max(since));
        if within < SLOT {
            return None;
        }
        let bytes: u64 = turned.slots.iter().sum();
        (bytes > 0).then(|| Rate::measured(bytes, within))
    }

    /// Empties the slots between the last count and now.
    fn turn_to(&mut self, now: Duration) -> usize {
        let slot = slot_of(now).max(self.last);
        for empty in (self.last + 1..=slot).take(self.slots.len()) {
            self.slots[index(empty)] = 0;
        }
        if slot - self.last >= SLOTS {
            self.slots = Default::default();
        }
        self.last = slot;
        index(slot)
    }
}

fn slot_of(now: Duration) -> u64 {
    u64::try_from(now.as_nanos() / SLOT.as_nanos()).unwrap_or(u64::MAX)
}

fn index(slot: u64) -> usize {
    usize::try_from(slot % SLOTS).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::Gauge;
    use std::time::Duration;

    #[test]
    fn tells_the_last_seconds() {
        let ms = Duration::from_millis;
        let mut gauge = Gauge::default();
        assert_eq!(gauge.rate(ms(0)), None);
        for step in 0..100 {
            gauge.count(10_000, ms(5_000 + step * 100));
        }
        let rate = gauge.rate(ms(14_950)).and_then(|rate| rate.bits()).expect("a rate");
        assert!((760_000..=840_000).contains(&rate), "{rate}");
        let slower = gauge.rate(ms(16_500)).and_then(|rate| rate.bits()).expect("a rate");
        assert!(slower < rate * 6 / 10, "{slower} after a pause");
        assert_eq!(gauge.rate(ms(30_000)), None, "long ago");
        gauge.count(1, ms(1));
    }
}
