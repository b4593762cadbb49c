//! Up to where the log is settled: everything before that position is acknowledged by the broker, pending in the table, or needs
//! no publishing.
//!
//! A transaction is settled when its last message is, and its commit only behind all commits before it: an event's own position
//! says nothing of the transactions that began before it and end later.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use database::Lsn;
use tokio::time::Instant;

#[derive(Debug)]
struct Transaction {
    /// Messages that are not settled.
    open: usize,
    /// Where its commit ends; none while more of it is to come.
    end: Option<Lsn>,
    since: Instant,
}

/// What the log has brought and is not settled, in the order of commits.
#[derive(Debug)]
pub(crate) struct Progress {
    transactions: VecDeque<Transaction>,
    /// The number of the first one of them.
    first: u64,
    /// By the number of its transaction.
    messages: HashMap<i64, u64>,
    settled: Lsn,
}

impl Progress {
    pub(crate) fn new(settled: Lsn) -> Self {
        Self { transactions: VecDeque::new(), first: 0, messages: HashMap::new(), settled }
    }

    /// Whatever commits before this is settled.
    pub(crate) const fn settled(&self) -> Lsn {
        self.settled
    }

    /// The log has brought this message.
    pub(crate) fn begin(&mut self, id: i64, now: Instant) {
        if self.transactions.back().is_none_or(|last| last.end.is_some()) {
            self.transactions.push_back(Transaction { open: 0, end: None, since: now });
        }
        let number = self.first + self.transactions.len() as u64 - 1;
        // One that its owner removed and brought back is settled once.
        if let (Some(last), Entry::Vacant(vacant)) = (self.transactions.back_mut(), self.messages.entry(id)) {
            vacant.insert(number);
            last.open += 1;
        }
    }

    /// A transaction is complete, or nothing of one is to come before this position.
    pub(crate) fn reach(&mut self, position: Lsn, is_commit: bool) {
        match self.transactions.back_mut() {
            None => self.settled = self.settled.max(position),
            Some(last) if is_commit || last.end.is_some() => last.end = last.end.max(Some(position)),
            // In the middle of a transaction.
            Some(_) => {}
        }
        self.advance();
    }

    /// Nothing more is to be done about this message.
    pub(crate) fn settle(&mut self, id: i64) {
        let Some(number) = self.messages.remove(&id) else { return };
        let at = usize::try_from(number - self.first).unwrap_or(usize::MAX);
        if let Some(transaction) = self.transactions.get_mut(at) {
            transaction.open -= 1;
        }
        self.advance();
    }

    fn advance(&mut self) {
        while let Some(Transaction { open: 0, end: Some(end), .. }) = self.transactions.front() {
            self.settled = self.settled.max(*end);
            self.transactions.pop_front();
            self.first += 1;
        }
    }

    /// Messages that hold the position back for longer than `after`.
    pub(crate) fn overdue(&self, now: Instant, after: Duration) -> Vec<i64> {
        let is_overdue = |transaction: &Transaction| now >= transaction.since + after;
        if !self.transactions.front().is_some_and(is_overdue) {
            return Vec::new();
        }
        let of = |number: u64| self.transactions.get(usize::try_from(number - self.first).ok()?);
        let overdue = self.messages.iter().filter(|(_, number)| of(**number).is_some_and(is_overdue));
        overdue.map(|(id, _)| *id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(transactions: &[(&[i64], u64)]) -> Progress {
        let mut progress = Progress::new(Lsn(1));
        for (ids, end) in transactions {
            for id in *ids {
                progress.begin(*id, Instant::now());
            }
            progress.reach(Lsn(*end), true);
        }
        progress
    }

    #[test]
    fn a_commit_is_settled_behind_those_before_it() {
        let mut progress = progress(&[(&[1, 2], 10), (&[3], 20)]);
        progress.settle(3);
        assert_eq!(progress.settled(), Lsn(1));
        progress.settle(1);
        assert_eq!(progress.settled(), Lsn(1));
        progress.settle(2);
        assert_eq!(progress.settled(), Lsn(20));
    }

    #[test]
    fn a_transaction_that_goes_on_is_not_settled_by_its_first_messages() {
        let mut progress = Progress::new(Lsn(1));
        progress.begin(1, Instant::now());
        progress.settle(1);
        progress.reach(Lsn(15), false);
        assert_eq!(progress.settled(), Lsn(1));
        progress.begin(2, Instant::now());
        progress.reach(Lsn(20), true);
        assert_eq!(progress.settled(), Lsn(1));
        progress.settle(2);
        assert_eq!(progress.settled(), Lsn(20));
    }

    #[test]
    fn a_message_that_comes_twice_is_settled_once() {
        let mut progress = progress(&[(&[1], 10), (&[1, 2], 20)]);
        progress.settle(1);
        assert_eq!(progress.settled(), Lsn(10));
        progress.settle(1);
        progress.settle(2);
        assert_eq!(progress.settled(), Lsn(20));
    }

    #[test]
    fn a_position_behind_a_commit_waits_for_it() {
        let mut progress = progress(&[(&[1], 10)]);
        progress.reach(Lsn(30), false);
        assert_eq!(progress.settled(), Lsn(1));
        progress.settle(1);
        assert_eq!(progress.settled(), Lsn(30));
        progress.reach(Lsn(40), false);
        assert_eq!(progress.settled(), Lsn(40));
    }

    #[test]
    fn what_holds_the_position_back_is_overdue_after_a_while() {
        let (progress, after) = (progress(&[(&[1, 2], 10)]), Duration::from_secs(5));
        assert!(progress.overdue(Instant::now(), after).is_empty());
        let mut overdue = progress.overdue(Instant::now() + after, after);
        overdue.sort_unstable();
        assert_eq!(overdue, [1, 2]);
    }
}
