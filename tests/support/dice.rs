//! Seeded choices, the seed printed and repeatable with `FENICE_TEST_SEED`.

use jiff::Timestamp;

/// A small generator; only the spread matters.
pub struct Dice(u64);

impl Dice {
    /// By `FENICE_TEST_SEED`, else by the clock. The seed stands in the test's output.
    pub fn seeded() -> Dice {
        let given = std::env::var("FENICE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| Timestamp::now().as_nanosecond() as u64);
        println!("FENICE_TEST_SEED={seed}");
        Dice(seed)
    }

    /// By a seed of the caller's.
    pub fn of(seed: u64) -> Dice {
        Dice(seed)
    }

    /// What makes it repeatable; to be asked before the first choice.
    pub fn seed(&self) -> u64 {
        self.0
    }

    /// From 0 up to, not including, `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}
