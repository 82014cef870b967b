//! Chance that is the same every time.
//!
//! SplitMix64: Guy L. Steele, Doug Lea and Christine H. Flood, "Fast splittable
//! pseudorandom number generators", OOPSLA 2014; the constants are those of
//! Sebastiano Vigna's public-domain `splitmix64.c`. Only sums, products and
//! square roots are taken, which are exact everywhere.

/// Up to so many, chance is asked for each.
const EACH: u64 = 64;

/// A generator.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    /// One of its own for something that has a name.
    pub(super) fn new(seed: u64, name: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"patchmesh simulate v1\0").update(&seed.to_le_bytes());
        hasher.update(name.as_bytes());
        let mut start = [0; 8];
        start.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self(u64::from_le_bytes(start))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below 1.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// How many of `n` it happens to, if it happens to each with chance `p`.
    pub(super) fn of(&mut self, n: u64, p: f64) -> u64 {
        if n == 0 || p <= 0.0 {
            return 0;
        }
        if p >= 1.0 {
            return n;
        }
        if n <= EACH {
            return (0..n).map(|_| u64::from(self.unit() < p)).sum();
        }
        let mean = n as f64 * p;
        if mean < 12.0 || n as f64 - mean < 12.0 {
            // Too lopsided for what follows: in parts that are small enough.
            let half = n / 2;
            return self.of(half, p) + self.of(n - half, p);
        }
        // The sum of twelve numbers below one, less six, is nearly normal with a
        // deviation of one.
        let normal = (0..12).map(|_| self.unit()).sum::<f64>() - 6.0;
        let drawn = (mean + normal * (mean * (1.0 - p)).sqrt()).round();
        (drawn.max(0.0) as u64).min(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_published() {
        // Vigna's reference, seeded with 1234567.
        let mut dice = Dice(1_234_567);
        let drawn: Vec<u64> = (0..3).map(|_| dice.next()).collect();
        assert_eq!(
            drawn,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn as_many_as_chance_says() {
        let mut dice = Dice::new(1, "a test");
        for (n, p) in [(40, 0.5), (500, 0.01), (500, 0.99), (10_000, 0.3), (7, 0.02)] {
            let turns = 4_000_u64;
            let drawn: Vec<u64> = (0..turns).map(|_| dice.of(n, p)).collect();
            assert!(drawn.iter().all(|one| *one <= n));
            let mean = drawn.iter().sum::<u64>() as f64 / turns as f64;
            let deviation = (n as f64 * p * (1.0 - p)).sqrt();
            // Five deviations of the mean of so many turns.
            let far = 5.0 * deviation / (turns as f64).sqrt();
            assert!((mean - n as f64 * p).abs() < far, "{n} {p}: {mean}");
            let spread = drawn.iter().map(|one| (*one as f64 - mean).powi(2)).sum::<f64>();
            let spread = (spread / turns as f64).sqrt();
            assert!((spread / deviation - 1.0).abs() < 0.1, "{n} {p}: {spread} not {deviation}");
        }
        assert_eq!((dice.of(0, 0.5), dice.of(9, 0.0), dice.of(9, 1.0)), (0, 0, 9));
    }
}
