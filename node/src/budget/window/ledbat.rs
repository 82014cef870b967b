//! A window that yields: the background's.
//!
//! After LEDBAT (RFC 6817) with what LEDBAT++ adds: a slow start that ends before
//! the target, a decrease by a part of the window, steps of growth that do not hang
//! on the delay, and pauses in which the line can be seen without its own frames.
//! The receiver decides alone, by what [`Delays`] knows of the line: what a frame
//! took longer than that is time that it waited in somebody's queue.
//!
//! - Below [`TARGET`] the window grows, above it shrinks: it fills a line that
//!   nobody else uses and queues little on it.
//! - Where the queue stays although the window is at its least, somebody else's
//!   traffic is what fills it. Then it takes [`REST`] between grants, and looks
//!   again each time.
//! - Once a minute all transfers from a node pause together until nothing of them is
//!   under way. The first frame after that shows the line as it is; without it their
//!   own queue would in time be taken for the line, and each new least be built upon.
//!
//! What it cannot know: a queue that has stood without a pause since the node
//! began, or for an hour, looks like the line itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Arrival, CEILING, Delays, Window};

/// How long its own frames may wait in a queue. The RFC allows 100 ms and LEDBAT++
/// takes 60; queues of a narrow line may be no longer than 50 ms, and one that is
/// always full before the target is reached would never be yielded to.
const TARGET: Duration = Duration::from_millis(25);

/// Of the target, where slow start ends.
const SLOW_START_END: f64 = 0.75;

/// The least window: on 20 Mbit/s with a queue of 50 ms some 3 % of the line.
const FLOOR: f64 = 4096.0;

/// Grants that share a large window: each comes at once, and what it takes then
/// must be far below the target, or it would look like a queue.
const PARTS: u64 = 32;

/// Smaller ones would only be overhead, except in the least windows.
const PART: u64 = 4096;

/// How much a window grows each time it has come whole.
const STEP: f64 = 8192.0;

/// The most of a window that is given up each time it has come whole.
const MOST_DECREASE: f64 = 0.5;

/// The pause between grants where the least window is too much.
const REST: Duration = Duration::from_millis(400);

/// Delays of which the least counts, so that one late wake-up is no queue.
const FILTER: usize = 4;

/// How long the pause of each minute is at least, beyond two round trips: the time
/// that its own queue takes to drain, twice.
const DRAIN: Duration = Duration::from_millis(50);

/// The longest that it pauses.
const LONGEST_PAUSE: Duration = Duration::from_millis(600);

/// Yields.
#[derive(Debug)]
pub struct Ledbat {
    delays: Arc<Delays>,
    window: f64,
    slow_start: bool,
    recent: [i64; FILTER],
    seen: usize,
    under_way: u64,
    rest: Option<Instant>,
    /// The minute of the last pause, and until when it is.
    paused: Option<u64>,
    pause: Option<Instant>,
    /// What the last round trip was above the shortest, while that is all that
    /// is known of the line.
    beyond: Duration,
}

impl Ledbat {
    /// Of a transfer from the node with these delays.
    #[must_use]
    pub const fn new(delays: Arc<Delays>) -> Self {
        Self {
            delays,
            window: FLOOR,
            slow_start: true,
            recent: [0; FILTER],
            seen: 0,
            under_way: 0,
            rest: None,
            paused: None,
            pause: None,
            beyond: Duration::ZERO,
        }
    }

    /// How long frames wait in a queue, as a part of the target.
    fn queued(&mut self, arrival: &Arrival) -> f64 {
        let look = self.delays.look(arrival);
        if self.paused.replace(look.minute).is_some_and(|last| last != look.minute) {
            let drained = 2 * look.shortest.unwrap_or_default() + DRAIN;
            self.pause = Some(arrival.at + drained.min(LONGEST_PAUSE));
        }
        self.recent[self.seen % FILTER] = arrival.delay_micros;
        self.seen += 1;
        let recent = &self.recent[..self.seen.min(FILTER)];
        let now = recent.iter().copied().min().unwrap_or(arrival.delay_micros);
        let waited = now.saturating_sub(look.least).max(0) as f64;
        self.beyond = match look.beyond {
            _ if look.is_trusted => Duration::ZERO,
            Some(beyond) => beyond,
            None => self.beyond,
        };
        waited.max(self.beyond.as_micros() as f64) / TARGET.as_micros() as f64
    }
}

impl Window for Ledbat {
    fn bytes(&self) -> u64 {
        self.window as u64
    }

    fn part(&self) -> u64 {
        let window = self.bytes();
        (window / PARTS).max(PART.min(window / 4))
    }

    fn not_before(&self) -> Option<Instant> {
        self.rest.max(self.pause)
    }

    fn granted(&mut self, _: Instant, bytes: u64) {
        self.under_way += bytes;
    }

    fn arrived(&mut self, arrival: Arrival) {
        let Arrival { at, bytes, .. } = arrival;
        // What limits the transfer elsewhere says nothing of what the line holds.
        let is_used = self.under_way as f64 >= self.window / 2.0;
        self.under_way = self.under_way.saturating_sub(bytes);
        let queued = self.queued(&arrival);
        let share = bytes as f64;
        if queued > 1.0 {
            self.slow_start = false;
            self.window -= share * (queued - 1.0).min(MOST_DECREASE);
            if self.window <= FLOOR {
                self.rest = Some(at + REST);
                // Whoever was yielded to may leave the whole line behind.
                self.slow_start = true;
            }
        } else {
            self.rest = None;
            if queued > SLOW_START_END {
                self.slow_start = false;
            }
            if is_used {
                let growth = if self.slow_start { share } else { STEP * share / self.window };
                self.window += growth;
            }
        }
        self.window = self.window.clamp(FLOOR, CEILING as f64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Bytes a second, and the delay each way.
    const RATE: f64 = 2_500_000.0;
    const DELAYS: [Duration; 3] =
        [Duration::from_micros(200), Duration::from_millis(20), Duration::from_millis(50)];

    /// What others keep in the queue, in seconds.
    const FULL: f64 = 0.045;

    /// A transfer over a line whose queue others may fill too.
    struct Sim {
        ledbat: Ledbat,
        start: Instant,
        delay: Duration,
        now: Duration,
        /// When the line has sent all that was given to it, in seconds.
        free: f64,
        queue: VecDeque<(f64, f64, u64)>,
        /// When what was granted first after a time without any was granted.
        probe: Option<Duration>,
    }

    impl Sim {
        fn new(delay: Duration, delays: Arc<Delays>) -> Self {
            Self {
                ledbat: Ledbat::new(delays),
                start: Instant::now(),
                delay,
                now: Duration::ZERO,
                free: 0.0,
                queue: VecDeque::new(),
                probe: None,
            }
        }

        /// Ten seconds more, in which `others` keep so many seconds in the queue:
        /// the rate in the last five of them, and the longest queue of ours then.
        fn run(&mut self, others: f64) -> (f64, f64) {
            // A constant difference of the clocks, as there always is.
            let offset = -3_600_000_000_i64;
            let end = self.now + Duration::from_secs(10);
            let (mut came, mut longest) = (0.0, 0.0_f64);
            while self.now < end {
                let at = self.start + self.now;
                let part = self.ledbat.part();
                while self.ledbat.not_before().is_none_or(|rest| rest <= at)
                    && self.ledbat.under_way + part <= self.ledbat.bytes()
                {
                    if self.ledbat.under_way == 0 {
                        self.probe = Some(self.now);
                    }
                    self.ledbat.granted(at, part);
                    // It joins the queue when the grant has got there.
                    let joined = (self.now + self.delay).as_secs_f64();
                    self.free = self.free.max(joined) + part as f64 / RATE;
                    let arrives = self.free + others + self.delay.as_secs_f64();
                    self.queue.push_back((arrives, joined, part));
                }
                let now = self.now.as_secs_f64();
                while self.queue.front().is_some_and(|(arrives, _, _)| *arrives <= now) {
                    let Some((arrives, sent, bytes)) = self.queue.pop_front() else { break };
                    let delay_micros = offset + ((arrives - sent) * 1e6) as i64;
                    let trip = self.probe.take().map(|begun| self.now - begun);
                    self.ledbat.arrived(Arrival { at, bytes, delay_micros, trip });
                    if self.now + Duration::from_secs(5) > end {
                        came += bytes as f64;
                        longest = longest.max((self.free - now) * RATE);
                    }
                }
                self.now += Duration::from_micros(500);
            }
            (came / 5.0, longest)
        }
    }

    #[test]
    fn it_fills_a_free_line_and_leaves_one_that_is_used() {
        for delay in DELAYS {
            let mut sim = Sim::new(delay, Arc::default());
            let (alone, longest) = sim.run(0.0);
            assert!(alone > 0.9 * RATE, "{alone} at {delay:?}");
            assert!(longest < RATE * (0.05 + delay.as_secs_f64()), "{longest} in the queue");
            let (beside, _) = sim.run(FULL);
            assert!(beside < 0.02 * RATE, "{beside} beside somebody at {delay:?}");
            let (after, _) = sim.run(0.0);
            assert!(after > 0.9 * RATE, "{after} when they are gone, at {delay:?}");
        }
    }

    #[test]
    fn it_yields_to_who_was_there_first_where_the_line_was_ever_seen_free() {
        for delay in DELAYS {
            let delays = Arc::new(Delays::default());
            delays.trip(Instant::now(), 2 * delay);
            let mut sim = Sim::new(delay, delays);
            let (beside, _) = sim.run(FULL);
            assert!(beside < 0.02 * RATE, "{beside} beside somebody at {delay:?}");
            let (after, _) = sim.run(0.0);
            assert!(after > 0.9 * RATE, "{after} when they are gone, at {delay:?}");
        }
    }

    #[test]
    fn its_own_queue_is_not_taken_for_the_line_however_long_it_runs() {
        let mut sim = Sim::new(Duration::from_millis(20), Arc::default());
        // An hour, of which the last part is looked at.
        for _ in 0..359 {
            let (alone, _) = sim.run(0.0);
            assert!(alone > 0.9 * RATE, "{alone} at {:?}", sim.now);
        }
        let (_, longest) = sim.run(0.0);
        assert!(longest < RATE * 0.08, "{longest} in the queue");
        let (beside, _) = sim.run(FULL);
        assert!(beside < 0.02 * RATE, "{beside} beside somebody");
        // They stay for longer than delays are remembered.
        for _ in 0..90 {
            sim.run(FULL);
        }
        let (beside, _) = sim.run(FULL);
        assert!(beside < 0.02 * RATE, "{beside} beside somebody who stays");
    }
}
