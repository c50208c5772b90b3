//! A clock for measuring how long handlers take, cheap enough to be read around each of them.
//!
//! Its unit is whatever the processor counts; [`Scale`] turns differences into time. It serves measurement and the balance of
//! load only: nothing whose outcome matters waits for it.
#![allow(
    unsafe_code,
    reason = "the processor's time-stamp counter is read by an instruction"
)]

use std::time::{Duration, Instant};

/// Some 100 µs, on whatever counts.
#[cfg(all(target_arch = "x86_64", not(any(miri, million_loom))))]
pub(crate) const ABOUT_100_US: u64 = 250_000;
#[cfg(not(all(target_arch = "x86_64", not(any(miri, million_loom)))))]
pub(crate) const ABOUT_100_US: u64 = 100_000;

/// The processor's time-stamp counter: 10 ns to read, where asking for the time of day takes 25.
///
/// Since 2008 it counts at one rate on all cores. On an older processor durations are approximate.
#[cfg(all(target_arch = "x86_64", not(any(miri, million_loom))))]
pub(crate) fn now() -> u64 {
    // SAFETY: the instruction reads a register and touches nothing else; every x86_64 has it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Nanoseconds since the first call.
#[cfg(not(any(target_arch = "x86_64", million_loom)))]
pub(crate) fn now() -> u64 {
    nanos()
}

/// Nanoseconds since the first call: the checker of undefined behaviour knows no time-stamp counter.
#[cfg(all(target_arch = "x86_64", miri, not(million_loom)))]
pub(crate) fn now() -> u64 {
    nanos()
}

/// In a model no time passes.
#[cfg(million_loom)]
pub(crate) fn now() -> u64 {
    0
}

#[cfg(all(not(million_loom), any(miri, not(target_arch = "x86_64"))))]
#[allow(clippy::disallowed_methods, reason = "this is a seam for time")]
fn nanos() -> u64 {
    static FIRST: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    u64::try_from(FIRST.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Compares ticks with the clock, from when it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    ticks: u64,
    instant: Instant,
}

/// How long a tick is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    nanos_a_tick: f64,
}

impl Scale {
    /// Begins to compare; `instant` is now.
    pub(crate) fn from(instant: Instant) -> Self {
        Self {
            ticks: now(),
            instant,
        }
    }

    /// `instant` is now; the further it is from the beginning the more exact the answer.
    #[allow(
        clippy::cast_precision_loss,
        reason = "a measurement needs no more than the 52 bits of a double"
    )]
    pub(crate) fn rate(&self, instant: Instant) -> Rate {
        let passed = instant.saturating_duration_since(self.instant).as_nanos() as f64;
        let counted = now().saturating_sub(self.ticks) as f64;
        let nanos_a_tick = if counted > 0.0 { passed / counted } else { 0.0 };
        Rate { nanos_a_tick }
    }
}

impl Rate {
    /// Ticks that are nanoseconds.
    pub(crate) const NANOS: Self = Self { nanos_a_tick: 1.0 };

    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a measurement needs no more than the 52 bits of a double, and casts of doubles saturate"
    )]
    pub(crate) fn duration(self, ticks: u64) -> Duration {
        Duration::from_nanos((ticks as f64 * self.nanos_a_tick) as u64)
    }

    pub(crate) fn to_bits(self) -> u64 {
        self.nanos_a_tick.to_bits()
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Self {
            nanos_a_tick: f64::from_bits(bits),
        }
    }
}

#[cfg(all(test, not(million_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_scale_measures_as_the_clock_does() {
        let begun = Instant::now();
        let scale = Scale::from(begun);
        let from = now();
        while begun.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        let ticks = now() - from;
        let measured = scale.rate(Instant::now()).duration(ticks);
        let ratio = measured.as_secs_f64() / begun.elapsed().as_secs_f64();
        assert!((0.5..1.5).contains(&ratio), "{measured:?}");
    }
}
