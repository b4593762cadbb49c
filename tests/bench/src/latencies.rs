//! Latencies in microseconds, and their percentiles.

use tidings::text::percentile;

/// Sorted latencies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies(Vec<u64>);

impl Latencies {
    pub(crate) fn new(mut us: Vec<u64>) -> Self {
        us.sort_unstable();
        Self(us)
    }

    /// The latency at `per_mille` in milliseconds (nearest rank); 0 of none.
    pub(crate) fn ms(&self, per_mille: usize) -> f64 {
        percentile(&self.0, per_mille).unwrap_or_default() as f64 / 1_000.0
    }

    pub(crate) fn p50_ms(&self) -> f64 {
        self.ms(500)
    }

    pub(crate) fn p99_ms(&self) -> f64 {
        self.ms(990)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank_whatever_the_order() {
        let latencies = Latencies::new((1..=200).rev().map(|ms| ms * 1_000).collect());
        assert_eq!((latencies.p50_ms(), latencies.p99_ms(), latencies.ms(1_000)), (100.0, 198.0, 200.0));
        assert_eq!(latencies.count(), 200);
        assert_eq!(Latencies::new(vec![1_500]).p99_ms(), 1.5);
        assert_eq!(Latencies::default().p99_ms(), 0.0);
    }
}
