//! Pauses before something is tried again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Between half of `pause` and all of it, so that those who failed together do
/// not return in step.
pub(crate) fn jittered(pause: Duration) -> Duration {
    // A new hasher state is random enough to spread, and costs no crate.
    let share = RandomState::new().hash_one(()) % 1024;
    pause / 2 + pause * u32::try_from(share).unwrap_or(0) / 2048
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_between_half_and_all() {
        let pause = Duration::from_millis(800);
        for _ in 0..1000 {
            let jittered = jittered(pause);
            assert!(jittered >= pause / 2 && jittered <= pause, "{jittered:?}");
        }
    }
}
