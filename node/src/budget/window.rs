//! How many bytes a receiver lets be under way to it on one transfer.
//!
//! [`Greedy`] fills the line: as many bytes as it carries in the shortest round
//! trip that was seen and [`SLACK`] more. A bottleneck without a limit of ours
//! queues for no longer than that, and what is urgent passes within it.
//! [`Ledbat`] yields to whoever else uses the line. [`of`] says which class has
//! which.

use std::sync::Arc;
use std::time::{Duration, Instant};

use patchmesh_topology::link::Class;

mod delays;
mod ledbat;

use delays::Carried;
pub use delays::Delays;
pub use ledbat::Ledbat;

/// A frame that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When it came.
    pub at: Instant,
    /// Its bytes of payload.
    pub bytes: u64,
    /// The receiver's clock less the sender's when it sent the frame. Clocks
    /// differ, so only how it changes means anything.
    pub delay_micros: i64,
    /// The time since its grant, less what the sender took to answer. Only of the
    /// first frame after a time in which nothing was under way.
    pub trip: Option<Duration>,
}

/// Decides how much may be under way.
pub trait Window: Send {
    /// Bytes that may be granted and not have come.
    fn bytes(&self) -> u64;

    /// The most of them that are granted at once: with fewer than four grants the
    /// line would run dry between two of them.
    fn part(&self) -> u64 {
        self.bytes() / 4
    }

    /// So many bytes were granted.
    fn granted(&mut self, at: Instant, bytes: u64);

    /// A frame came.
    fn arrived(&mut self, arrival: Arrival);

    /// Nothing is to be granted before that; at any time where there is none.
    fn not_before(&self) -> Option<Instant> {
        None
    }
}

/// The window of a transfer of a class from the node with these delays.
#[must_use]
pub fn of(class: Class, delays: Arc<Delays>) -> Box<dyn Window> {
    match class {
        Class::Background => Box::new(Ledbat::new(delays)),
        Class::Control | Class::Critical | Class::Normal => {
            let greedy = delays.carried(Instant::now()).map(Greedy::after).unwrap_or_default();
            Box::new(Noting { delays, greedy })
        }
    }
}

/// Fills the line, and notes its delays for those that yield.
#[derive(Debug)]
struct Noting {
    delays: Arc<Delays>,
    greedy: Greedy,
}

impl Window for Noting {
    fn bytes(&self) -> u64 {
        self.greedy.bytes()
    }

    fn granted(&mut self, at: Instant, bytes: u64) {
        self.greedy.granted(at, bytes);
    }

    fn arrived(&mut self, arrival: Arrival) {
        self.delays.look(&arrival);
        let before = self.greedy.measured;
        self.greedy.arrived(arrival);
        if self.greedy.measured > before {
            self.delays.carry(arrival.at, self.greedy.rate());
        }
    }
}

/// What may queue beyond what the line itself holds.
const SLACK: Duration = Duration::from_millis(250);

/// The least window: fewer bytes at a time would only be overhead.
const FLOOR: u64 = 64 << 10;

/// The first window, before anything is known of the line.
const FIRST: u64 = 256 << 10;

/// The largest window: 1 Gbit/s at 100 ms needs 12.5 MB.
const CEILING: u64 = 20 << 20;

/// The shortest time over which a rate is measured: long enough for a few
/// frames of a limited sender.
const SPAN: Duration = Duration::from_millis(50);

/// How many rates are remembered; the best of them counts, so that a pause of
/// the sender does not shut the window at once.
const RATES: usize = 8;

/// Fills the line.
#[derive(Debug)]
pub struct Greedy {
    window: u64,
    /// Bytes that were granted, and that came, in all.
    granted: u64,
    came: u64,
    /// Bytes granted before the grant whose first byte is awaited, and when it
    /// was made.
    probe: Option<(u64, Instant)>,
    round_trip: Option<Duration>,
    /// When the span that is measured began, and what came in it.
    span: Option<(Instant, u64)>,
    /// Bytes a second, newest last.
    rates: [f64; RATES],
    measured: usize,
}

impl Default for Greedy {
    fn default() -> Self {
        Self {
            window: FIRST,
            granted: 0,
            came: 0,
            probe: None,
            round_trip: None,
            span: None,
            rates: [0.0; RATES],
            measured: 0,
        }
    }
}

impl Greedy {
    /// Of a transfer that follows another one, which came with so many bytes a
    /// second: half of that is believed until there is a rate of its own, so that
    /// a long line is filled at once.
    fn after(Carried { rate, round_trip }: Carried) -> Self {
        let mut greedy = Self { round_trip, measured: 1, ..Self::default() };
        greedy.rates[0] = rate / 2.0;
        greedy.window = greedy.fitting();
        greedy
    }

    /// The best of the last rates.
    fn rate(&self) -> f64 {
        self.rates.iter().copied().fold(0.0, f64::max)
    }

    /// The window that goes with it.
    fn fitting(&self) -> u64 {
        let wait = self.round_trip.unwrap_or_default() + SLACK;
        ((self.rate() * wait.as_secs_f64()) as u64).clamp(FLOOR, CEILING)
    }
}

impl Window for Greedy {
    fn bytes(&self) -> u64 {
        self.window
    }

    fn granted(&mut self, at: Instant, bytes: u64) {
        if self.granted == self.came {
            // Nothing was under way: the time until now is no measure.
            self.span = Some((at, 0));
        }
        self.probe.get_or_insert((self.granted, at));
        self.granted += bytes;
    }

    fn arrived(&mut self, Arrival { at, bytes, .. }: Arrival) {
        self.came += bytes;
        if let Some((before, granted_at)) = self.probe
            && self.came > before
        {
            let trip = at.saturating_duration_since(granted_at);
            self.round_trip = Some(self.round_trip.map_or(trip, |least| least.min(trip)));
            self.probe = None;
        }
        let Some((since, so_far)) = self.span else { return };
        let (lasted, so_far) = (at.saturating_duration_since(since), so_far + bytes);
        if lasted < SPAN.max(self.round_trip.unwrap_or_default()) {
            self.span = Some((since, so_far));
            if self.measured == 0 {
                // It doubles with every round trip until there is a rate.
                self.window = (self.window + bytes).min(CEILING);
            }
            return;
        }
        self.rates[self.measured % RATES] = so_far as f64 / lasted.as_secs_f64();
        self.measured += 1;
        self.span = Some((at, 0));
        self.window = self.fitting();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fetches over a line of this rate and delay for ten seconds; the bytes
    /// that came in the last five, and the most that was queued then.
    fn over(rate: f64, round_trip: Duration) -> (f64, u64) {
        over_from(Greedy::default(), rate, round_trip, Duration::from_secs(5))
    }

    /// The same, from `after` on, with a window that knows something already.
    fn over_from(
        mut greedy: Greedy,
        rate: f64,
        round_trip: Duration,
        after: Duration,
    ) -> (f64, u64) {
        let start = Instant::now();
        let step = Duration::from_millis(1);
        let mut line: std::collections::VecDeque<(Duration, u64)> = [].into();
        let (mut queue, mut under_way, mut came, mut most) = (0.0, 0_u64, 0_u64, 0_u64);
        let mut now = Duration::ZERO;
        while now < Duration::from_secs(10) {
            while under_way < greedy.bytes() {
                let bytes = (16 << 10).min(greedy.bytes() - under_way);
                greedy.granted(start + now, bytes);
                line.push_back((now + round_trip, bytes));
                under_way += bytes;
            }
            while line.front().is_some_and(|(at, _)| *at <= now) {
                queue += line.pop_front().map_or(0, |(_, bytes)| bytes) as f64;
            }
            let passed = f64::min(queue, rate * step.as_secs_f64());
            queue -= passed;
            let bytes = (passed as u64).min(under_way);
            if bytes > 0 {
                greedy.arrived(Arrival { at: start + now, bytes, delay_micros: 0, trip: None });
                under_way -= bytes;
            }
            if now > after {
                came += bytes;
                most = most.max(queue as u64);
            }
            now += step;
        }
        (came as f64 / (10.0 - after.as_secs_f64()), most)
    }

    #[test]
    fn fills_a_long_fat_line_and_queues_little_on_a_thin_one() {
        let (rate, _) = over(125e6, Duration::from_millis(100));
        assert!(rate > 0.9 * 125e6, "{rate}");
        let (rate, queued) = over(125e3, Duration::from_millis(20));
        assert!(rate > 0.9 * 125e3, "{rate}");
        assert!(queued < 100 << 10, "{queued} bytes wait for almost a second");
    }

    #[test]
    fn a_transfer_that_follows_another_fills_a_long_line_at_once() {
        let trip = Duration::from_millis(100);
        let begun = |greedy| over_from(greedy, 125e6, trip, Duration::ZERO).0;
        let first = begun(Greedy::default());
        let next = begun(Greedy::after(Carried { rate: 125e6, round_trip: Some(trip) }));
        // Nothing comes in the first round trip of ten seconds.
        assert!(next > 0.98 * 125e6, "{next}");
        assert!(first < 0.98 * 125e6, "{first}: nothing is gained");
        // Where the line has become thin, little queues on it all the same.
        let (rate, queued) = over_from(
            Greedy::after(Carried { rate: 125e6, round_trip: Some(trip) }),
            125e3,
            trip,
            Duration::from_secs(5),
        );
        assert!(rate > 0.9 * 125e3, "{rate}");
        assert!(queued < CEILING, "{queued}");
    }
}
