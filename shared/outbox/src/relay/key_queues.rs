//! The barrier per key: row n+1 is sent only when row n was acknowledged, whatever happens in between.
//!
//! **Invariant:** at most one row of a key is in flight, and it is the key's lowest row here. Order per key rests on
//! this alone, not on the broker, the producer or the leader lock (docs/adr/0002).
//!
//! ```text
//! both in flight                        one in flight
//! a1 ─► timed out, refused or lost      a1 ─► timed out, refused or lost     a2 waits
//! a2 ─► appended                        a1 ─► sent again, acknowledged
//! a1 ─► sent again, appended            a2 ─► appended
//! topic: a2 a1                          topic: a1 a2, or a1 a1 a2
//! ```
//!
//! An idempotent producer excludes the left side only while it lives: not across its replacement, a restart, or two relays
//! that both take themselves for the leader.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};

use super::row::{QueueKey, Row};

/// The rows of one topic that wait for the broker, by key.
#[derive(Debug)]
pub(crate) struct KeyQueues {
    queues: HashMap<QueueKey, KeyQueue>,
    /// Keys whose lowest row can be sent, by that row's id: the lowest goes first.
    ready: BTreeMap<i64, QueueKey>,
    /// Keys whose lowest row was refused in a batch: the broker refuses batches whole, so each is sent again alone.
    isolated: BTreeMap<i64, QueueKey>,
    in_flight: usize,
    /// The only row in flight is sent in isolation: nothing else may be in flight.
    is_isolating: bool,
    window: usize,
}

#[derive(Debug)]
struct KeyQueue {
    rows: VecDeque<Box<Row>>,
    state: State,
    /// Its only row was refused before, and is tried again.
    is_retry: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The lowest row waits to be sent.
    Waiting,
    /// The lowest row is with the broker, in a batch.
    InBatch,
    /// The lowest row is with the broker, and nothing else is.
    Isolated,
    /// The broker refused the lowest row; the key's rows are dropped until the table knows.
    Blocked,
}

/// A key of which the broker takes nothing more for now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BlockedKey {
    /// The row that was refused.
    pub(crate) id: i64,
    /// All rows of the key that were here, the refused one among them.
    pub(crate) ids: Vec<i64>,
}

impl KeyQueue {
    fn of(row: Box<Row>, is_retry: bool) -> Self {
        Self { rows: VecDeque::from([row]), state: State::Waiting, is_retry }
    }
}

impl KeyQueues {
    /// No rows yet; at most `window` of them will be in flight.
    pub(crate) fn new(window: usize) -> Self {
        Self {
            queues: HashMap::new(),
            ready: BTreeMap::new(),
            isolated: BTreeMap::new(),
            in_flight: 0,
            is_isolating: false,
            window,
        }
    }

    pub(crate) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Takes a row behind its key's others. When the key is blocked it drops the row and gives its id.
    pub(crate) fn push(&mut self, row: Box<Row>) -> Result<(), i64> {
        match self.queues.entry(row.queue_key()) {
            Entry::Occupied(queue) if queue.get().state == State::Blocked => Err(row.id),
            Entry::Occupied(mut queue) => {
                queue.get_mut().rows.push_back(row);
                Ok(())
            }
            Entry::Vacant(queue) => {
                self.ready.insert(row.id, queue.key().clone());
                queue.insert(KeyQueue::of(row, false));
                Ok(())
            }
        }
    }

    /// Takes the row that its key is blocked with, to be tried alone. Gives its id if rows of the key are here already.
    pub(crate) fn retry(&mut self, row: Box<Row>) -> Result<(), i64> {
        let key = row.queue_key();
        if self.queues.contains_key(&key) {
            return Err(row.id);
        }
        self.isolated.insert(row.id, key.clone());
        self.queues.insert(key, KeyQueue::of(row, true));
        Ok(())
    }

    /// Whether the key's row is with the broker alone.
    pub(crate) fn is_isolated(&self, key: &QueueKey) -> bool {
        self.queues.get(key).is_some_and(|queue| queue.state == State::Isolated)
    }

    /// Whether the key's row was refused before it came here.
    pub(crate) fn is_retry(&self, key: &QueueKey) -> bool {
        self.queues.get(key).is_some_and(|queue| queue.is_retry)
    }

    /// Whether a row could be sent alone now.
    pub(crate) fn can_probe(&self) -> bool {
        self.in_flight == 0 && !(self.ready.is_empty() && self.isolated.is_empty())
    }

    /// Whether a row waits that was never refused here.
    pub(crate) fn has_unrefused(&self) -> bool {
        !self.ready.is_empty()
    }

    /// One row alone, to see whether the topic takes it: preferably one that was never refused, and of those any.
    pub(crate) fn send_probe(&mut self, random: usize) -> Option<(QueueKey, &Row)> {
        if !self.can_probe() {
            return None;
        }
        let from = if self.ready.is_empty() { &mut self.isolated } else { &mut self.ready };
        let id = *from.keys().nth(random % from.len())?;
        let key = from.remove(&id)?;
        self.fly(key, State::Isolated)
    }

    /// The next row to send, now in flight; none while the window is full or everything waits for the broker.
    pub(crate) fn send_next(&mut self) -> Option<(QueueKey, &Row)> {
        let (key, state) = if self.isolated.is_empty() {
            if self.in_flight >= self.window || self.is_isolating {
                return None;
            }
            (self.ready.pop_first()?.1, State::InBatch)
        } else {
            if self.in_flight > 0 {
                return None;
            }
            (self.isolated.pop_first()?.1, State::Isolated)
        };
        self.fly(key, state)
    }

    fn fly(&mut self, key: QueueKey, state: State) -> Option<(QueueKey, &Row)> {
        let queue = self.queues.get_mut(&key)?;
        queue.state = state;
        self.in_flight += 1;
        self.is_isolating = state == State::Isolated;
        Some((key, queue.rows.front()?))
    }

    /// The broker has the key's row in flight: gives it back, and makes the key's next row ready.
    pub(crate) fn acknowledged(&mut self, key: &QueueKey) -> Option<Box<Row>> {
        let Entry::Occupied(mut entry) = self.queues.entry(key.clone()) else { return None };
        let queue = entry.get_mut();
        let row = queue.rows.pop_front()?;
        self.in_flight -= 1;
        self.is_isolating = false;
        queue.state = State::Waiting;
        if let Some(next) = queue.rows.front() {
            self.ready.insert(next.id, key.clone());
        } else {
            entry.remove();
        }
        Some(row)
    }

    /// Whether the broker has the key's row in flight is unknown: it is to be sent again before any later one.
    pub(crate) fn unacknowledged(&mut self, key: &QueueKey) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        let Some(head) = queue.rows.front() else { return };
        match queue.state {
            State::InBatch => {
                self.ready.insert(head.id, key.clone());
            }
            State::Isolated => {
                self.isolated.insert(head.id, key.clone());
            }
            State::Waiting | State::Blocked => return,
        }
        queue.state = State::Waiting;
        self.in_flight -= 1;
        self.is_isolating = false;
    }

    /// The broker refused the key's row in flight. In a batch that proves nothing, and the row will be sent again
    /// alone; alone it blocks the key, unless it is not to `block`.
    pub(crate) fn refused(&mut self, key: &QueueKey, block: bool) -> Option<BlockedKey> {
        let queue = self.queues.get_mut(key)?;
        let head = queue.rows.front()?;
        let id = head.id;
        self.in_flight -= 1;
        self.is_isolating = false;
        if queue.state == State::Isolated && block {
            queue.state = State::Blocked;
            let ids = queue.rows.drain(..).map(|row| row.id).collect();
            Some(BlockedKey { id, ids })
        } else {
            queue.state = State::Waiting;
            self.isolated.insert(id, key.clone());
            None
        }
    }

    /// What is in flight gets no answer any more: its producer is gone.
    pub(crate) fn abandon(&mut self) {
        let flying: Vec<QueueKey> = self
            .queues
            .iter()
            .filter(|(_, queue)| matches!(queue.state, State::InBatch | State::Isolated))
            .map(|(key, _)| key.clone())
            .collect();
        for key in flying {
            self.unacknowledged(&key);
        }
    }

    /// The block of `key` is recorded: rows that come from now on were released by a person.
    pub(crate) fn forget_blocked(&mut self, key: &QueueKey) {
        if self.queues.get(key).is_some_and(|queue| queue.state == State::Blocked) {
            self.queues.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::row::{queue_key, row};

    fn queues(window: usize, rows: &[(i64, &str)]) -> KeyQueues {
        let mut queues = KeyQueues::new(window);
        for (id, key) in rows {
            queues.push(row(*id, key, None)).unwrap();
        }
        queues
    }

    fn acknowledged(queues: &mut KeyQueues, key: &str) -> Option<i64> {
        queues.acknowledged(&queue_key(key)).map(|row| row.id)
    }

    fn send(queues: &mut KeyQueues) -> Vec<i64> {
        std::iter::from_fn(|| queues.send_next().map(|(_, row)| row.id)).collect()
    }

    #[test]
    fn only_the_lowest_row_of_each_key_is_in_flight() {
        let mut queues = queues(10, &[(1, "a"), (2, "a"), (3, "b"), (4, "a")]);
        assert_eq!(send(&mut queues), [1, 3]);
        assert_eq!(acknowledged(&mut queues, "a"), Some(1));
        assert_eq!(send(&mut queues), [2]);
        queues.push(row(5, "b", None)).unwrap();
        assert_eq!(send(&mut queues), Vec::<i64>::new());
        assert_eq!(acknowledged(&mut queues, "b"), Some(3));
        assert_eq!(send(&mut queues), [5]);
    }

    #[test]
    fn the_window_bounds_what_is_in_flight() {
        let mut queues = queues(2, &[(1, "a"), (2, "b"), (3, "c")]);
        assert_eq!(send(&mut queues), [1, 2]);
        assert_eq!(acknowledged(&mut queues, "b"), Some(2));
        assert_eq!(send(&mut queues), [3]);
        assert_eq!(queues.in_flight(), 2);
    }

    #[test]
    fn an_unacknowledged_row_is_sent_again_before_its_successor() {
        let mut queues = queues(10, &[(1, "a"), (2, "b"), (3, "a")]);
        assert_eq!(send(&mut queues), [1, 2]);
        queues.unacknowledged(&queue_key("a"));
        assert_eq!(acknowledged(&mut queues, "b"), Some(2));
        assert_eq!(send(&mut queues), [1]);
    }

    #[test]
    fn a_replaced_producer_repeats_every_flight_from_the_lowest_row() {
        let mut queues = queues(10, &[(1, "a"), (2, "b"), (3, "a"), (4, "c")]);
        assert_eq!(send(&mut queues), [1, 2, 4]);
        queues.abandon();
        assert_eq!(queues.in_flight(), 0);
        assert_eq!(send(&mut queues), [1, 2, 4]);
    }

    #[test]
    fn a_record_refused_in_a_batch_is_tried_alone_before_anything_else_is_sent() {
        let mut queues = queues(10, &[(1, "a"), (2, "b"), (3, "c")]);
        assert_eq!(send(&mut queues), [1, 2, 3]);
        assert_eq!(queues.refused(&queue_key("a"), true), None);
        assert_eq!(queues.refused(&queue_key("b"), true), None);
        assert_eq!(send(&mut queues), Vec::<i64>::new(), "3 is still in flight");
        queues.unacknowledged(&queue_key("c"));
        assert_eq!(send(&mut queues), [1]);
        assert_eq!(acknowledged(&mut queues, "a"), Some(1));
        assert_eq!(send(&mut queues), [2]);
        assert_eq!(queues.refused(&queue_key("b"), true), Some(BlockedKey { id: 2, ids: vec![2] }));
        assert_eq!(send(&mut queues), [3]);
    }

    #[test]
    fn a_record_whose_try_alone_gave_no_answer_is_tried_alone_again() {
        let mut queues = queues(10, &[(1, "a"), (2, "b")]);
        assert_eq!(send(&mut queues), [1, 2]);
        assert_eq!(queues.refused(&queue_key("a"), true), None);
        queues.abandon();
        assert_eq!(send(&mut queues), [1]);
        queues.abandon();
        assert_eq!(send(&mut queues), [1]);
    }

    #[test]
    fn a_probe_is_a_row_that_was_never_refused_if_there_is_one_and_flies_alone() {
        let mut queues = queues(10, &[(1, "a"), (2, "b")]);
        assert_eq!(send(&mut queues), [1, 2]);
        assert_eq!(queues.refused(&queue_key("a"), false), None);
        assert_eq!(queues.send_probe(0), None, "2 is still in flight");
        assert_eq!(queues.refused(&queue_key("b"), false), None);
        queues.push(row(3, "c", None)).unwrap();
        assert_eq!(queues.send_probe(7).map(|(_, row)| row.id), Some(3));
        assert_eq!(send(&mut queues), Vec::<i64>::new());
        assert_eq!(queues.refused(&queue_key("c"), false), None, "not to be blocked");
        assert_eq!(queues.send_probe(1).map(|(_, row)| row.id), Some(2));
        assert_eq!(acknowledged(&mut queues, "b"), Some(2));
        assert_eq!(send(&mut queues), [1]);
    }

    #[test]
    fn what_was_refused_before_is_tried_alone_and_nothing_of_its_key_beside_it() {
        let mut queues = queues(10, &[(5, "b")]);
        queues.retry(row(1, "a", None)).unwrap();
        assert_eq!(queues.retry(row(2, "a", Some(1))), Err(2));
        assert_eq!(send(&mut queues), [1]);
        assert!(queues.is_isolated(&queue_key("a")) && queues.is_retry(&queue_key("a")));
        assert_eq!(queues.refused(&queue_key("a"), true), Some(BlockedKey { id: 1, ids: vec![1] }));
        assert_eq!(send(&mut queues), [5]);
    }

    #[test]
    fn a_blocked_key_takes_no_rows_until_its_block_is_recorded() {
        let mut queues = queues(10, &[(1, "a"), (2, "a")]);
        assert_eq!(send(&mut queues), [1]);
        assert_eq!(queues.refused(&queue_key("a"), true), None);
        assert_eq!(send(&mut queues), [1]);
        assert_eq!(queues.refused(&queue_key("a"), true), Some(BlockedKey { id: 1, ids: vec![1, 2] }));
        assert_eq!(queues.push(row(3, "a", None)), Err(3));
        queues.forget_blocked(&queue_key("a"));
        queues.push(row(1, "a", None)).unwrap();
        assert_eq!(send(&mut queues), [1]);
    }
}
