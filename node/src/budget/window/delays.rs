//! What is known of how long frames from one node take: the line without a queue,
//! and what is above it now.
//!
//! Two measures complete each other. How long a frame was on its way, by the two
//! clocks, shows a queue towards this node and nothing else; but clocks drift, so
//! only the last [`MEMORY`] minutes count, and a queue that has stood since then
//! looks like the line itself. A round trip has one clock: the shortest within
//! [`TRIP_MEMORY`] minutes is remembered, of transfers and of every report to that
//! node, which goes four times a minute also while nothing is fetched. It counts
//! queues of both directions, so it only decides whether the first measure can be
//! believed: it can where a round trip was about the shortest lately.
//!
//! The rate that transfers came with is remembered too, so that the next one need
//! not find out anew what the line carries.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Arrival;

/// How long the least time of a frame is remembered, in minutes: clocks drift.
const MEMORY: usize = 10;

/// How long the shortest round trip is remembered, in minutes: longer than most
/// that fill a line go on without a pause. When a line has become longer, what
/// yields on it does so for no reason until this has passed.
const TRIP_MEMORY: usize = 60;

/// How much above the shortest a round trip may be on a line without a queue.
const JITTER: Duration = Duration::from_millis(8);

/// How long a rate is remembered: others may use the line by then.
const RATE_MEMORY: Duration = Duration::from_secs(10 * 60);

/// The least of the last minutes.
#[derive(Debug)]
struct Least {
    memory: usize,
    /// Minutes and the least of each, oldest first.
    minutes: VecDeque<(u64, i64)>,
}

impl Least {
    const fn of(memory: usize) -> Self {
        Self { memory, minutes: VecDeque::new() }
    }

    /// Takes note of a value; gives the least that is remembered.
    fn note(&mut self, minute: u64, value: i64) -> i64 {
        match self.minutes.back_mut() {
            Some((last, least)) if *last == minute => *least = value.min(*least),
            _ => self.minutes.push_back((minute, value)),
        }
        let memory = self.memory as u64;
        while self.minutes.front().is_some_and(|(first, _)| first + memory <= minute) {
            self.minutes.pop_front();
        }
        self.minutes.iter().map(|(_, least)| *least).min().unwrap_or(value)
    }
}

/// What is known of frames from one node; shared by all transfers from it.
#[derive(Debug, Default)]
pub struct Delays {
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    since: Option<Instant>,
    one_way: Least,
    trips: Least,
    shortest: Option<Duration>,
    /// Bytes a second that a transfer came with lately, and when.
    carried: Option<(Instant, f64)>,
    /// The minute of the last frame whose round trip was about the shortest.
    clear: Option<u64>,
}

impl Default for Known {
    fn default() -> Self {
        let (one_way, trips) = (Least::of(MEMORY), Least::of(TRIP_MEMORY));
        Self { since: None, one_way, trips, shortest: None, carried: None, clear: None }
    }
}

/// What a transfer lately came with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Carried {
    /// Bytes a second.
    pub rate: f64,
    /// The shortest round trip.
    pub round_trip: Option<Duration>,
}

/// What a frame shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// Minutes since the first was looked at.
    pub minute: u64,
    /// The least time that a frame took, as `delay_micros` of an [`Arrival`].
    pub least: i64,
    /// Whether that was on a line without a queue, as far as is known.
    pub is_trusted: bool,
    /// How much longer than the shortest its round trip was, where it has one.
    pub beyond: Option<Duration>,
    /// The shortest round trip.
    pub shortest: Option<Duration>,
}

impl Delays {
    /// Takes note of a round trip.
    pub fn trip(&self, at: Instant, trip: Duration) {
        self.known().trip(at, trip);
    }

    /// Takes note of a frame that came.
    pub(super) fn look(&self, arrival: &Arrival) -> Look {
        let mut known = self.known();
        let minute = known.minute(arrival.at);
        let beyond = arrival.trip.map(|trip| known.trip(arrival.at, trip));
        if beyond.is_some_and(|beyond| beyond <= JITTER) {
            known.clear = Some(minute);
        }
        let memory = MEMORY as u64;
        let is_trusted = known.clear.is_some_and(|clear| minute < clear + memory);
        let least = known.one_way.note(minute, arrival.delay_micros);
        Look { minute, least, is_trusted, beyond, shortest: known.shortest }
    }

    /// Takes note of how many bytes a second a transfer comes with.
    pub(super) fn carry(&self, at: Instant, rate: f64) {
        self.known().carried = Some((at, rate));
    }

    /// What the last transfer came with, where that was lately.
    pub(super) fn carried(&self, now: Instant) -> Option<Carried> {
        let known = self.known();
        let (at, rate) = known.carried?;
        let is_recent = now.saturating_duration_since(at) < RATE_MEMORY;
        is_recent.then_some(Carried { rate, round_trip: known.shortest })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Whole after every statement.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn minute(&mut self, at: Instant) -> u64 {
        at.saturating_duration_since(*self.since.get_or_insert(at)).as_secs() / 60
    }

    /// Notes a round trip; how much longer than the shortest it was.
    fn trip(&mut self, at: Instant, trip: Duration) -> Duration {
        let minute = self.minute(at);
        let micros = i64::try_from(trip.as_micros()).unwrap_or(i64::MAX);
        let least = self.trips.note(minute, micros);
        let least = Duration::from_micros(u64::try_from(least).unwrap_or(0));
        self.shortest = Some(least);
        trip.saturating_sub(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(at: Instant, delay_micros: i64, trip: Option<u64>) -> Arrival {
        Arrival { at, bytes: 1, delay_micros, trip: trip.map(Duration::from_millis) }
    }

    #[test]
    fn the_least_delay_is_forgotten_in_time() {
        let (delays, start) = (Delays::default(), Instant::now());
        let minutes = |count: u64| start + Duration::from_secs(60 * count);
        let note = |at, delay| delays.look(&frame(at, delay, None)).least;
        assert_eq!(note(start, 10), 10);
        assert_eq!(note(start, 30), 10);
        for minute in 1..MEMORY as u64 {
            assert_eq!(note(minutes(minute), 20), 10);
        }
        assert_eq!(note(minutes(MEMORY as u64), 25), 20, "it was long ago");
        assert_eq!(note(minutes(100), 40), 40, "nothing came for long");
    }

    #[test]
    fn a_queue_that_was_always_there_is_told_from_the_line_by_an_older_round_trip() {
        let (delays, start) = (Delays::default(), Instant::now());
        let minutes = |count: u64| start + Duration::from_secs(60 * count);
        delays.trip(start, Duration::from_millis(20));
        let beside = delays.look(&frame(minutes(30), 70_000, Some(65)));
        assert_eq!(beside.beyond, Some(Duration::from_millis(45)));
        assert!(!beside.is_trusted);
        let alone = delays.look(&frame(minutes(31), 25_000, Some(22)));
        assert!(alone.is_trusted);
        assert!(delays.look(&frame(minutes(40), 25_000, None)).is_trusted);
        assert!(!delays.look(&frame(minutes(41), 25_000, None)).is_trusted, "it was long ago");
    }
}
