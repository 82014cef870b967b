//! How long a line takes: pure arithmetic about rate and delay.
//!
//! What is sent occupies the line for `bytes / rate`, one part after the other
//! however many connections share it, and arrives `delay` later. A delay does
//! not cost bandwidth: many parts are under way at once.

use std::time::Duration;

use tokio::time::Instant;

/// How far ahead of the line parts are taken in: the queue of the router in
/// front of it. Long enough to keep the line busy when a timer is late, short
/// enough to add little to the delay.
pub(super) const QUEUE: Duration = Duration::from_millis(20);

/// A part should occupy the line no longer than this, so that a limit is kept
/// smoothly.
const PART_TIME: Duration = Duration::from_millis(5);

/// No part is smaller: about what one packet carries.
const MIN_PART: usize = 1_400;

/// No part is larger; bounds what one read takes.
pub(super) const MAX_PART: usize = 64 * 1024;

/// One direction of a line.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// When the line has sent all that was given to it.
    free_at: Option<Instant>,
}

impl Line {
    /// Takes `bytes` at `now`: when the last of them has left. No rate: at once.
    pub(super) fn send(&mut self, now: Instant, bytes: usize, rate: Option<u64>) -> Instant {
        let start = self.free_at.map_or(now, |free_at| free_at.max(now));
        let left = match rate {
            Some(rate) => start + Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64),
            None => now,
        };
        self.free_at = Some(left);
        left
    }
}

/// How much one read should take on a line of that rate.
pub(super) fn part(rate: Option<u64>) -> usize {
    let Some(rate) = rate else { return MAX_PART };
    let bytes = rate as f64 * PART_TIME.as_secs_f64();
    (bytes as usize).clamp(MIN_PART, MAX_PART)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_at_the_lines_rate() {
        let (mut line, now) = (Line::default(), Instant::now());
        for number in 1..=10 {
            let left = line.send(now, 1_000, Some(10_000));
            assert_eq!(left - now, Duration::from_millis(100 * number));
        }
        // A line that was idle has saved nothing up.
        let later = now + Duration::from_secs(60);
        assert_eq!(line.send(later, 1_000, Some(10_000)) - later, Duration::from_millis(100));
    }

    #[test]
    fn a_line_without_a_rate_holds_nothing_back() {
        let (mut line, now) = (Line::default(), Instant::now());
        assert_eq!(line.send(now, 1 << 30, None), now);
        line.send(now, 1_000, Some(1));
        assert_eq!(line.send(now, 1, None), now, "the limit is gone");
    }

    #[test]
    fn parts_are_small_where_the_line_is_slow() {
        assert_eq!(part(None), MAX_PART);
        assert_eq!(part(Some(1)), MIN_PART);
        assert_eq!(part(Some(1_000_000)), 5_000);
        assert_eq!(part(Some(u64::MAX)), MAX_PART);
    }
}
