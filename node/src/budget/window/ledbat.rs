//! A window that yields: the background's.
//!
//! After LEDBAT (RFC 6817) with what LEDBAT++ adds: a slow start that ends before
//! the target, a decrease by a part of the window, and steps of growth that do
//! not hang on the delay. The receiver decides alone: each frame says when it was
//! sent, and the least difference of the clocks within ten minutes ([`Delays`]) is
//! taken for a line without a queue. What is above it is time that frames wait in
//! somebody's queue.
//!
//! - Below [`TARGET`] the window grows, above it shrinks: it fills a line that
//!   nobody else uses and queues little on it.
//! - Where the queue stays although the window is at its least, somebody else's
//!   traffic is what fills it. Then it takes [`REST`] between grants, and looks
//!   again each time.
//!
//! What it cannot know: a queue that was never seen empty looks like the line
//! itself, so what began beside a greedy flow yields less until that flow pauses.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Arrival, CEILING, Window};

/// How long its own frames may wait in a queue. The RFC allows 100 ms and LEDBAT++
/// takes 60; queues of a narrow line may be no longer than 50 ms, and one that is
/// always full before the target is reached would never be yielded to.
const TARGET: Duration = Duration::from_millis(25);

/// Of the target, where slow start ends.
const SLOW_START_END: f64 = 0.75;

/// The least window: on 20 Mbit/s with a queue of 50 ms some 3 % of the line.
const FLOOR: f64 = 4096.0;

/// How much a window grows each time it has come whole.
const STEP: f64 = 8192.0;

/// The most of a window that is given up each time it has come whole.
const MOST_DECREASE: f64 = 0.5;

/// The pause between grants where the least window is too much.
const REST: Duration = Duration::from_millis(400);

/// Delays of which the least counts, so that one late wake-up is no queue.
const FILTER: usize = 4;

/// How long the least delay is remembered, in minutes: clocks drift, and lines
/// are rerouted.
const MEMORY: usize = 10;

/// The least delays of the frames of one node, by the minute; shared by all
/// transfers from it.
#[derive(Debug, Default)]
pub struct Delays {
    history: Mutex<Option<History>>,
}

#[derive(Debug)]
struct History {
    since: Instant,
    /// Minutes since then and the least of each, oldest first.
    minutes: VecDeque<(u64, i64)>,
}

impl Delays {
    /// Takes note of a delay; gives the least that is remembered, in microseconds.
    pub fn note(&self, at: Instant, delay: i64) -> i64 {
        // Whole after every statement.
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let history =
            history.get_or_insert_with(|| History { since: at, minutes: VecDeque::new() });
        let minute = at.saturating_duration_since(history.since).as_secs() / 60;
        match history.minutes.back_mut() {
            Some((last, least)) if *last == minute => *least = delay.min(*least),
            _ => history.minutes.push_back((minute, delay)),
        }
        while history.minutes.len() > MEMORY {
            history.minutes.pop_front();
        }
        history.minutes.iter().map(|(_, least)| *least).min().unwrap_or(delay)
    }
}

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
        }
    }

    /// How long frames wait in a queue, as a part of the target.
    fn queued(&mut self, at: Instant, delay: i64) -> f64 {
        let least = self.delays.note(at, delay);
        self.recent[self.seen % FILTER] = delay;
        self.seen += 1;
        let recent = &self.recent[..self.seen.min(FILTER)];
        let now = recent.iter().copied().min().unwrap_or(delay);
        now.saturating_sub(least).max(0) as f64 / TARGET.as_micros() as f64
    }
}

impl Window for Ledbat {
    fn bytes(&self) -> u64 {
        self.window as u64
    }

    fn not_before(&self) -> Option<Instant> {
        self.rest
    }

    fn granted(&mut self, _: Instant, bytes: u64) {
        self.under_way += bytes;
    }

    fn arrived(&mut self, Arrival { at, bytes, delay_micros }: Arrival) {
        // What limits the transfer elsewhere says nothing of what the line holds.
        let is_used = self.under_way as f64 >= self.window / 2.0;
        self.under_way = self.under_way.saturating_sub(bytes);
        let queued = self.queued(at, delay_micros);
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
    use super::*;

    /// A transfer over a line whose queue others may fill too.
    struct Sim {
        ledbat: Ledbat,
        start: Instant,
        rate: f64,
        delay: Duration,
        now: Duration,
        /// When the line has sent all that was given to it, in seconds.
        free: f64,
        queue: VecDeque<(f64, f64, u64)>,
    }

    impl Sim {
        /// Ten seconds more, in which `others` keep so many seconds in the queue:
        /// the rate in the last five of them, and the longest queue of ours then.
        fn run(&mut self, others: f64) -> (f64, f64) {
            // A constant difference of the clocks, as there always is.
            let offset = -3_600_000_000_i64;
            let end = self.now + Duration::from_secs(10);
            let (mut came, mut longest) = (0.0, 0.0_f64);
            while self.now < end {
                let at = self.start + self.now;
                let part = (self.ledbat.bytes() / 4).max(1024);
                while self.ledbat.not_before().is_none_or(|rest| rest <= at)
                    && self.ledbat.under_way + part <= self.ledbat.bytes()
                {
                    self.ledbat.granted(at, part);
                    // It joins the queue when the grant has got there.
                    let joined = (self.now + self.delay).as_secs_f64();
                    self.free = self.free.max(joined) + part as f64 / self.rate;
                    self.queue.push_back((self.free + others, joined, part));
                }
                let now = self.now.as_secs_f64();
                while self.queue.front().is_some_and(|(arrives, _, _)| *arrives <= now) {
                    let Some((arrives, sent, bytes)) = self.queue.pop_front() else { break };
                    let delay_micros = offset + ((arrives - sent) * 1e6) as i64;
                    self.ledbat.arrived(Arrival { at, bytes, delay_micros });
                    if self.now + Duration::from_secs(5) > end {
                        came += bytes as f64;
                        longest = longest.max((self.free - now) * self.rate);
                    }
                }
                self.now += Duration::from_micros(500);
            }
            (came / 5.0, longest)
        }
    }

    #[test]
    fn it_fills_a_free_line_and_leaves_one_that_is_used() {
        let rate = 2_500_000.0;
        for delay in [Duration::from_micros(200), Duration::from_millis(50)] {
            let mut sim = Sim {
                ledbat: Ledbat::new(Arc::default()),
                start: Instant::now(),
                rate,
                delay,
                now: Duration::ZERO,
                free: 0.0,
                queue: VecDeque::new(),
            };
            let (alone, longest) = sim.run(0.0);
            assert!(alone > 0.9 * rate, "{alone} of {rate} at {delay:?}");
            assert!(longest < rate * (0.06 + delay.as_secs_f64()), "{longest} in the queue");
            let (beside, _) = sim.run(0.045);
            assert!(beside < 0.02 * rate, "{beside} beside somebody at {delay:?}");
            let (after, _) = sim.run(0.0);
            assert!(after > 0.9 * rate, "{after} when they are gone, at {delay:?}");
        }
    }

    #[test]
    fn the_least_delay_is_forgotten_in_time() {
        let (delays, start) = (Delays::default(), Instant::now());
        let minutes = |count: u64| start + Duration::from_secs(60 * count);
        assert_eq!(delays.note(start, 10), 10);
        assert_eq!(delays.note(start, 30), 10);
        for minute in 1..MEMORY as u64 {
            assert_eq!(delays.note(minutes(minute), 20), 10);
        }
        assert_eq!(delays.note(minutes(MEMORY as u64), 25), 20, "it was long ago");
    }
}
