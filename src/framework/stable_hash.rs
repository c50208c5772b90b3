//! A hash of keys that is the same in every process and on every machine, and the choice of a bucket by it.

use std::hash::Hasher;

/// FNV-1a of 64 bits, with every number taken as little-endian and `usize` as 64 bits, so that the machine does not show.
pub(crate) struct StableHasher(u64);

impl StableHasher {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

/// The signed writers and `write_str` of [`Hasher`] end in these.
impl Hasher for StableHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn write_u16(&mut self, number: u16) {
        self.write(&number.to_le_bytes());
    }

    fn write_u32(&mut self, number: u32) {
        self.write(&number.to_le_bytes());
    }

    fn write_u64(&mut self, number: u64) {
        self.write(&number.to_le_bytes());
    }

    fn write_u128(&mut self, number: u128) {
        self.write(&number.to_le_bytes());
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    /// FNV leaves the high bits of short keys alike; the last steps of splitmix64 spread them.
    fn finish(&self) -> u64 {
        let mut hash = self.0;
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^ (hash >> 31)
    }
}

/// The bucket, less than `buckets`, that `hash` belongs to. With one bucket more, a hash stays or moves to the new one.
///
/// The idea: Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014. Each jump decides by chance, drawn from the
/// hash, with which next number of buckets the key moves.
///
/// Panics if `buckets` is 0.
pub(crate) fn bucket(hash: u64, buckets: usize) -> usize {
    assert!(buckets > 0, "a key needs at least 1 bucket, got 0");
    let buckets = buckets as u64;
    let mut chance = hash;
    let mut at = 0u64;
    loop {
        chance = chance
            .wrapping_mul(2_862_933_555_777_941_757)
            .wrapping_add(1);
        // The next number of buckets with which it moves: (at + 1) · 2³¹ / a draw from 1 to 2³¹.
        let draw = (chance >> 33) + 1;
        let next = u64::try_from((u128::from(at + 1) << 31) / u128::from(draw)).unwrap_or(u64::MAX);
        if next >= buckets {
            return usize::try_from(at).expect("it is less than the number of buckets, a usize");
        }
        at = next;
    }
}

#[cfg(test)]
mod tests {
    use std::hash::Hash;

    use proptest::prelude::*;

    use super::*;

    fn hash(key: &(impl Hash + ?Sized)) -> u64 {
        let mut hasher = StableHasher::new();
        key.hash(&mut hasher);
        hasher.finish()
    }

    proptest! {
        #[test]
        fn a_key_stays_or_moves_to_the_new_bucket(key: u64, buckets in 1usize..200) {
            let (before, after) = (bucket(hash(&key), buckets), bucket(hash(&key), buckets + 1));
            prop_assert!(before < buckets);
            prop_assert!(after == before || after == buckets);
        }
    }

    #[test]
    fn keys_spread_evenly() {
        for buckets in [2usize, 7, 16] {
            let mut counts = vec![0usize; buckets];
            for key in 0..buckets * 1000 {
                counts[bucket(hash(format!("user-{key}").as_str()), buckets)] += 1;
            }
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(*least > 800 && *most < 1200, "{counts:?}");
        }
    }

    /// The figures come from a second implementation; a change of them would move keys between members after an upgrade.
    #[test]
    fn the_hash_is_the_same_everywhere() {
        assert_eq!(hash(&7u64), KNOWN_OF_SEVEN);
        assert_eq!(bucket(KNOWN_OF_SEVEN, 10), BUCKET_OF_SEVEN);
    }

    const KNOWN_OF_SEVEN: u64 = 0xae25_3598_b337_821e;
    const BUCKET_OF_SEVEN: usize = 6;
}
