//! Chance that a seed repeats (Marsaglia's xorshift64).

#[derive(Debug, Clone)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn seeded(seed: u64) -> Self {
        // Small seeds begin alike, and zero would stay zero.
        let mut chance = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        chance.next();
        chance
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The lower bits are the weaker ones.
        self.0.rotate_left(29)
    }

    /// A number below `sides`; 0 when there are none.
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        (self.next() % sides.max(1) as u64) as usize
    }

    /// Once in so many times.
    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.roll(times) == 0
    }

    pub(super) fn pick<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        among.get(self.roll(among.len()))
    }

    /// A number of the kind that breaks things.
    pub(super) fn number(&mut self) -> u64 {
        let base = match self.roll(6) {
            0 => return self.next(),
            1 => return self.roll(300) as u64,
            2 => 0,
            3 => u64::MAX,
            4 => i64::MAX as u64,
            _ => 1 << self.roll(64),
        };
        base.wrapping_add(self.roll(5) as u64).wrapping_sub(2)
    }
}
