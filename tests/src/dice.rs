//! Chance that can be repeated: a run prints its seed, and the same seed rolls
//! the same.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

/// Repeats a run when set to the number that the run printed.
pub const SEED_VARIABLE: &str = "PATCHMESH_CRASH_SEED";

/// A sequence of numbers (Marsaglia's xorshift64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Rolls as [`SEED_VARIABLE`] says, or as never before, which it prints.
    ///
    /// # Errors
    /// When the variable is no number.
    pub fn new() -> Result<Self> {
        let seed = match std::env::var(SEED_VARIABLE) {
            Ok(text) => text.parse().with_context(|| format!("{SEED_VARIABLE} is no number"))?,
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos().into(),
        };
        eprintln!("{SEED_VARIABLE}={seed} repeats this run");
        Ok(Self::seeded(seed))
    }

    /// The sequence of a seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        // Small seeds begin alike, and zero would stay zero.
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        dice.roll(1);
        dice
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The lower bits are the weaker ones.
        (self.0 >> 16) % sides.max(1)
    }

    /// One of two.
    pub fn coin(&mut self) -> bool {
        self.roll(2) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_sequence_and_others_differ() {
        let rolls = |seed| {
            let mut dice = Dice::seeded(seed);
            (0..20).map(|_| dice.roll(1000)).collect::<Vec<_>>()
        };
        assert_eq!(rolls(7), rolls(7));
        assert_ne!(rolls(7), rolls(8));
        assert_ne!(rolls(0), rolls(1));
    }
}
