//! Durations as people write them: `90d`, `36h`, `15m`, `2m 30s`.

use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo};

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration; write a number with its unit, such as 30s, 15m, 36h or 90d")]
pub struct Error(String);

/// Reads a duration; a day has 24 hours. Months and years have no fixed
/// length and are refused, and so is anything below zero.
pub fn parse(text: &str) -> Result<Duration, Error> {
    let error = || Error(text.to_owned());
    let span: Span = text.trim().parse().map_err(|_| error())?;
    let signed: SignedDuration =
        span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| error())?;
    Duration::try_from(signed).map_err(|_| error())
}

/// Writes a duration so that [`parse`] reads it again.
#[must_use]
pub fn format(duration: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    let seconds = duration.as_secs();
    for (unit, length) in [("d", DAY), ("h", 60 * 60), ("m", 60)] {
        if seconds >= length && seconds.is_multiple_of(length) {
            return format!("{}{unit}", seconds / length);
        }
    }
    format!("{seconds}s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_needed_and_days_are_24_hours() {
        assert_eq!(parse("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(parse("2m 30s"), Ok(Duration::from_secs(150)));
        for text in ["", "30", "1month", "-5s", "soon"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for seconds in [0, 1, 59, 60, 3_600, 86_400, 90 * 86_400, 3_661] {
            let duration = Duration::from_secs(seconds);
            assert_eq!(parse(&format(duration)), Ok(duration));
        }
    }
}
