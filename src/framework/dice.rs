//! Chance that can be thrown again: the generator behind the deterministic mode.

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
///
/// It is written out here, and not taken from a library, because a seed that a test printed is to mean the same for as
/// long as possible: the general-purpose generators of `rand` may change with any version of it.
pub(crate) struct Dice(u64);

/// The golden ratio in 64 bits: successive states are as far apart as can be.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl Dice {
    /// `stream` tells apart several dice of the same seed.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Self(mix(seed).wrapping_add(mix(stream)))
    }

    pub(crate) fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A number below `count`, which is not 0. The bias is below `count` in 2⁶⁴.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        let wide = u128::from(self.throw()) * count as u128;
        usize::try_from(wide >> 64).expect("it is below count, which is a usize")
    }
}

/// Scatters a number over all 64 bits; different numbers stay different.
pub(crate) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_published_algorithm() {
        // Reference values of SplitMix64 from state 1234567.
        let mut dice = Dice(1_234_567);
        let thrown: Vec<u64> = (0..3).map(|_| dice.throw()).collect();
        assert_eq!(
            thrown,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn every_face_of_a_die_falls_about_as_often() {
        let mut dice = Dice::new(7, 0);
        let mut faces = [0u32; 6];
        for _ in 0..6000 {
            faces[dice.below(6)] += 1;
        }
        assert!(
            faces.iter().all(|count| (850..1150).contains(count)),
            "{faces:?}"
        );
    }
}
