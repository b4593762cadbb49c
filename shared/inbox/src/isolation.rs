//! When the partition of a worker is isolated: its records are applied in transactions of their own (docs/adr/0015).

/// The most batches that a partition has to apply in isolation before it joins again.
const LONGEST: u32 = 64;
/// So many batches applied jointly, and the partition joins again as if it had never been at fault.
const CALM_AFTER: u32 = 64;

/// A partition begins isolated: after a crash its first batch may be the one that caused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Isolation {
    /// So many batches have to be applied in isolation before it joins.
    remaining: u32,
    /// The same of the next isolation.
    required: u32,
    /// Applied jointly in succession.
    joint: u32,
}

impl Isolation {
    pub(crate) const fn begin() -> Self {
        Self { remaining: 1, required: 1, joint: 0 }
    }

    pub(crate) const fn is_isolated(&self) -> bool {
        self.remaining > 0
    }

    /// A joint transaction failed, or could not have this partition.
    pub(crate) fn isolate(&mut self) {
        self.remaining = self.remaining.max(self.required);
        self.joint = 0;
    }

    /// A record of this partition is at fault: it joins the others more seldom.
    pub(crate) fn at_fault(&mut self) {
        self.required = self.required.saturating_mul(2).min(LONGEST);
        self.isolate();
    }

    /// A whole batch is behind the position.
    pub(crate) const fn applied(&mut self) {
        if self.remaining > 0 {
            self.remaining -= 1;
        } else if self.joint < CALM_AFTER {
            self.joint += 1;
        } else {
            self.required = 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many batches it applies in isolation before it joins.
    fn until_joined(isolation: &mut Isolation) -> u32 {
        let mut batches = 0;
        while isolation.is_isolated() {
            isolation.applied();
            batches += 1;
        }
        batches
    }

    #[test]
    fn a_partition_joins_after_its_first_batch_and_again_after_each_failure_of_others() {
        let mut isolation = Isolation::begin();
        for _ in 0..3 {
            assert_eq!(until_joined(&mut isolation), 1);
            isolation.isolate();
        }
    }

    #[test]
    fn a_partition_that_is_at_fault_joins_more_and_more_seldom_until_it_is_calm() {
        let mut isolation = Isolation::begin();
        until_joined(&mut isolation);
        let mut joins = Vec::new();
        for _ in 0..8 {
            isolation.at_fault();
            joins.push(until_joined(&mut isolation));
        }
        assert_eq!(joins, [2, 4, 8, 16, 32, 64, 64, 64]);
        (0..=CALM_AFTER).for_each(|_| isolation.applied());
        isolation.isolate();
        assert_eq!(until_joined(&mut isolation), 1);
    }
}
