//! Durations in buckets whose width grows with them, so that percentiles stay within 3 % at any scale.

/// The longest duration, in milliseconds, that a bucket holds: a bucket is known by its upper bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bound(pub i64);

/// Each doubling of the duration is cut into this many buckets (as HdrHistogram does it).
const BUCKETS_PER_DOUBLING_LOG2: u32 = 5;

impl Bound {
    /// The bucket that holds `milliseconds`; a negative duration (clocks differ) counts as none.
    pub const fn of(milliseconds: i64) -> Self {
        if milliseconds <= 0 {
            return Self(0);
        }
        let magnitude = 63 - milliseconds.leading_zeros();
        if magnitude <= BUCKETS_PER_DOUBLING_LOG2 {
            return Self(milliseconds);
        }
        let width_log2 = magnitude - BUCKETS_PER_DOUBLING_LOG2;
        Self(milliseconds | ((1 << width_log2) - 1))
    }

    /// The bound below which the fraction `percent / 100` of all durations lies, from buckets in ascending order.
    pub fn percentile(buckets: &[(Self, i64)], percent: i64) -> Option<Self> {
        let count: i128 = buckets.iter().map(|(_, orders)| i128::from(*orders)).sum();
        // The rank of the percentile, rounded up: the nearest-rank method.
        let rank = (count * i128::from(percent) + 99) / 100;
        let mut seen = 0;
        buckets
            .iter()
            .find(|(_, orders)| {
                seen += i128::from(*orders);
                seen >= rank.max(1)
            })
            .map(|(bound, _)| *bound)
    }
}
