//! A batch that fails is applied in parts, until it is known which record is at fault, or the part is small enough to pass.
//!
//! Refused data halves the part at once; an unknown error halves it after some tries; what passes by itself halves it from
//! the second failure on, because a smaller transaction is quicker and holds fewer locks. Each part that is applied moves the position,
//! and doubles the next one. One refused record of n costs about 2 log n transactions (docs/adr/0016).

use std::ops::Range;

use database::Verdict;

/// Number of tries of an unknown error, before an event is taken for its cause.
const TRIES: u32 = 5;

/// Where a batch stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    records: usize,
    start: usize,
    size: usize,
    /// Failures of the part as it is.
    tries: u32,
    /// Whether it was halved for an unknown error.
    searching: bool,
}

/// What is done after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The part, which is smaller now, at once.
    AtOnce,
    /// The part after a pause.
    Later,
    /// The part is one record, and that is at fault.
    DeadLetter,
}

impl Parts {
    pub(crate) const fn new(records: usize) -> Self {
        Self { records, start: 0, size: records, tries: 0, searching: false }
    }

    /// The records that come next.
    pub(crate) const fn range(&self) -> Range<usize> {
        self.start..self.start + self.size
    }

    /// So many records of the part, or all of it, were applied, or are dead letters. Returns whether they were the last ones.
    pub(crate) fn applied(&mut self, records: usize) -> bool {
        self.start += records;
        let next = if records < self.size { self.size - records } else { self.size.saturating_mul(2) };
        self.size = next.min(self.records - self.start);
        self.tries = 0;
        self.start == self.records
    }

    /// The part failed, and nothing of it is left.
    pub(crate) fn failed(&mut self, verdict: Verdict) -> Next {
        self.tries += 1;
        match verdict {
            Verdict::Data if self.size <= 1 => Next::DeadLetter,
            Verdict::Data => self.halve(Next::AtOnce),
            Verdict::Unknown if self.size <= 1 => {
                if self.tries < TRIES {
                    Next::Later
                } else {
                    Next::DeadLetter
                }
            }
            Verdict::Unknown if self.searching || self.tries >= TRIES => {
                self.searching = true;
                self.halve(Next::AtOnce)
            }
            Verdict::Unknown => Next::Later,
            Verdict::Transient | Verdict::Operator if self.tries >= 2 && self.size > 1 => {
                self.halve(Next::Later)
            }
            Verdict::Transient | Verdict::Operator => Next::Later,
        }
    }

    /// So many records of the part are applied before its next one.
    pub(crate) const fn cut(&mut self, records: usize) {
        self.size = records;
        self.tries = 0;
    }

    fn halve(&mut self, next: Next) -> Next {
        self.size /= 2;
        self.tries = 0;
        next
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Applies a batch of which some records are refused; gives the dead letters and the number of transactions.
    fn run(records: usize, refused: &BTreeSet<usize>, verdict: Verdict) -> (Vec<usize>, usize) {
        let (mut parts, mut letters, mut transactions) = (Parts::new(records), Vec::new(), 0);
        loop {
            transactions += 1;
            let is_last = if parts.range().any(|record| refused.contains(&record)) {
                match parts.failed(verdict) {
                    Next::AtOnce | Next::Later => continue,
                    Next::DeadLetter => {
                        transactions += 1;
                        letters.push(parts.range().start);
                        parts.applied(parts.range().len())
                    }
                }
            } else {
                parts.applied(parts.range().len())
            };
            if is_last {
                return (letters, transactions);
            }
        }
    }

    #[test]
    fn the_refused_records_are_found_and_no_others_at_the_cost_of_a_search() {
        for records in [0, 1, 2, 3, 7, 64, 500] {
            assert_eq!(run(records, &BTreeSet::new(), Verdict::Data), (Vec::new(), 1), "{records}");
            let logarithm = usize::BITS - records.leading_zeros();
            for refused in 0..records {
                let (letters, transactions) = run(records, &BTreeSet::from([refused]), Verdict::Data);
                assert_eq!(letters, [refused], "of {records}");
                assert!(transactions <= 4 * logarithm as usize + 2, "{refused} of {records}: {transactions}");
            }
            let all: BTreeSet<usize> = (0..records).collect();
            let (letters, transactions) = run(records, &all, Verdict::Unknown);
            assert_eq!(letters, all.into_iter().collect::<Vec<_>>());
            assert!(transactions <= 12 * records + 10, "{records}: {transactions}");
        }
    }

    #[test]
    fn an_unknown_error_is_tried_before_an_event_is_blamed() {
        let mut parts = Parts::new(2);
        for _ in 1..TRIES {
            assert_eq!((parts.failed(Verdict::Unknown), parts.range()), (Next::Later, 0..2));
        }
        assert_eq!((parts.failed(Verdict::Unknown), parts.range()), (Next::AtOnce, 0..1));
        for _ in 1..TRIES {
            assert_eq!(parts.failed(Verdict::Unknown), Next::Later);
        }
        assert_eq!(parts.failed(Verdict::Unknown), Next::DeadLetter);
    }

    #[test]
    fn a_transient_error_blames_no_event_and_shrinks_the_part() {
        let mut parts = Parts::new(8);
        for size in [8, 4, 4, 2, 2, 1, 1, 1, 1] {
            assert_eq!(parts.failed(Verdict::Transient), Next::Later);
            assert_eq!(parts.range(), 0..size);
        }
        assert!(!parts.applied(parts.range().len()));
        assert_eq!(parts.range(), 1..3);
    }
}
