//! All orders in which the steps of a few transactions can happen, by depth-first search over a model of their locks.

/// One transaction's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Which aggregate it changes.
    pub(crate) key: usize,
    /// Whether it commits or rolls back.
    pub(crate) commits: bool,
}

/// A step of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failpoint {
    /// It begins, and takes its transaction id.
    Begin,
    /// It locks its aggregate and loads it; where another one holds the lock, it waits for that one's end.
    Lock,
    /// It numbers its message, stores the aggregate and appends.
    Insert,
    /// It commits or rolls back.
    End,
}

const STEPS: [Failpoint; 4] = [Failpoint::Begin, Failpoint::Lock, Failpoint::Insert, Failpoint::End];

/// Transactions by index, one entry per step: entry n is the transaction that goes on at step n.
pub(crate) type Schedule = Vec<usize>;

/// Every schedule of `plans` that the locks allow. With `reduced`, orders of steps that can't see each other are taken
/// once: an aggregate that no other transaction changes is locked right before the insert, a lock that is buffered is asked for when
/// it is free, and transactions that differ in nothing but their number begin in their numbers' order.
pub(crate) fn all(plans: &[Plan], reduced: bool) -> Vec<Schedule> {
    let mut found = Vec::new();
    Search {
        plans,
        reduced,
        done: vec![0; plans.len()],
        waiting: vec![false; plans.len()],
        taken: Vec::new(),
    }
    .explore(&mut found);
    found
}

struct Search<'a> {
    plans: &'a [Plan],
    reduced: bool,
    done: Vec<usize>,
    waiting: Vec<bool>,
    taken: Schedule,
}

impl Search<'_> {
    fn explore(&mut self, found: &mut Vec<Schedule>) {
        if self.done.iter().all(|done| *done == STEPS.len()) {
            found.push(self.taken.clone());
            return;
        }
        for txn in 0..self.plans.len() {
            if !self.may_go(txn) {
                continue;
            }
            let before = (self.done.clone(), self.waiting.clone(), self.taken.len());
            self.go(txn);
            if self.reduced && STEPS[self.done[txn] - 1] == Failpoint::Lock && self.is_isolated(txn) {
                self.go(txn);
            }
            self.explore(found);
            self.done = before.0;
            self.waiting = before.1;
            self.taken.truncate(before.2);
        }
    }

    fn may_go(&self, txn: usize) -> bool {
        if self.waiting[txn] || self.done[txn] == STEPS.len() {
            return false;
        }
        match STEPS[self.done[txn]] {
            Failpoint::Begin if self.reduced => {
                (0..txn).all(|other| !self.interchangeable(other, txn) || self.done[other] > 0)
            }
            Failpoint::Lock if self.reduced => !self.sharing(txn).any(|other| self.holds(other)),
            // A second one in the queue would see nothing that the first does not.
            Failpoint::Lock => !self.sharing(txn).any(|other| self.waiting[other]),
            Failpoint::Begin | Failpoint::Insert | Failpoint::End => true,
        }
    }

    fn go(&mut self, txn: usize) {
        self.taken.push(txn);
        if STEPS[self.done[txn]] == Failpoint::Lock && self.sharing(txn).any(|other| self.holds(other)) {
            self.waiting[txn] = true;
            return;
        }
        self.done[txn] += 1;
        if self.done[txn] < STEPS.len() {
            return;
        }
        let next = self.sharing(txn).find(|other| self.waiting[*other]);
        if let Some(next) = next {
            self.waiting[next] = false;
            self.done[next] += 1;
        }
    }

    fn holds(&self, txn: usize) -> bool {
        self.done[txn] == 2 || self.done[txn] == 3
    }

    fn sharing(&self, txn: usize) -> impl Iterator<Item = usize> {
        (0..self.plans.len())
            .filter(move |other| *other != txn && self.plans[*other].key == self.plans[txn].key)
    }

    fn is_isolated(&self, txn: usize) -> bool {
        self.sharing(txn).next().is_none()
    }

    fn interchangeable(&self, one: usize, other: usize) -> bool {
        self.plans[one].commits == self.plans[other].commits
            && (self.plans[one].key == self.plans[other].key
                || (self.is_isolated(one) && self.is_isolated(other)))
    }
}

#[test]
fn two_transactions_that_share_nothing_have_every_order_of_their_steps() {
    let plans = [Plan { key: 0, commits: true }, Plan { key: 1, commits: true }];
    assert_eq!(all(&plans, false).len(), 70, "8 over 4");
    assert_eq!(all(&plans, true).len(), 10, "6 over 3, halved");
}

#[test]
fn a_lock_that_is_held_is_waited_for() {
    let plans = [Plan { key: 0, commits: true }, Plan { key: 0, commits: true }];
    let schedules = all(&plans, false);
    assert!(schedules.contains(&vec![0, 1, 0, 1, 0, 0, 1, 1]), "1 waits from the fourth step to the sixth");
    assert!(!schedules.contains(&vec![0, 1, 0, 1, 1, 0, 0, 1]), "1 can't insert while it waits");
}
