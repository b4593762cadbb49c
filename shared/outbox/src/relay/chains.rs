//! The barrier per key: row n+1 is sent only when row n was acknowledged, whatever happens in between.
//!
//! **Invariant:** at most one row of a key is in flight, and it is the key's lowest row here. Order per key rests on
//! this alone, not on the broker, the producer or the leader lock (docs/adr/0002).

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::row::{ChainKey, Row};

/// The rows of one topic that wait for the broker, by key.
#[derive(Debug)]
pub(crate) struct Chains {
    chains: HashMap<ChainKey, Chain>,
    /// Keys whose lowest row can be sent, by that row's id: the lowest goes first.
    ready: BTreeMap<i64, ChainKey>,
    /// Keys whose lowest row was refused in company: the broker refuses batches whole, so each is sent again alone.
    suspects: BTreeMap<i64, ChainKey>,
    in_flight: usize,
    /// The only row in flight is on trial: nothing may keep it company.
    on_trial: bool,
    window: usize,
}

#[derive(Debug)]
struct Chain {
    rows: VecDeque<Row>,
    flight: Flight,
    /// Its only row was refused before, and is tried again.
    is_retry: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flight {
    /// The lowest row waits to be sent.
    Waiting,
    /// The lowest row is with the broker, in company.
    Pooled,
    /// The lowest row is with the broker, and nothing else is.
    Alone,
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

impl Chain {
    fn of(row: Row, is_retry: bool) -> Self {
        Self { rows: VecDeque::from([row]), flight: Flight::Waiting, is_retry }
    }
}

impl Chains {
    /// No rows yet; at most `window` of them will be in flight.
    pub(crate) fn new(window: usize) -> Self {
        Self {
            chains: HashMap::new(),
            ready: BTreeMap::new(),
            suspects: BTreeMap::new(),
            in_flight: 0,
            on_trial: false,
            window,
        }
    }

    pub(crate) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Takes a row behind its key's others. When the key is blocked it drops the row and gives its id.
    pub(crate) fn push(&mut self, row: Row) -> Result<(), i64> {
        let key = row.chain_key();
        match self.chains.get_mut(&key) {
            Some(chain) if chain.flight == Flight::Blocked => Err(row.id),
            Some(chain) => {
                chain.rows.push_back(row);
                Ok(())
            }
            None => {
                self.ready.insert(row.id, key.clone());
                self.chains.insert(key, Chain::of(row, false));
                Ok(())
            }
        }
    }

    /// Takes the row that its key is blocked with, to be tried alone. Gives its id if rows of the key are here already.
    pub(crate) fn retry(&mut self, row: Row) -> Result<(), i64> {
        let key = row.chain_key();
        if self.chains.contains_key(&key) {
            return Err(row.id);
        }
        self.suspects.insert(row.id, key.clone());
        self.chains.insert(key, Chain::of(row, true));
        Ok(())
    }

    /// Whether the key's row is with the broker alone.
    pub(crate) fn is_alone(&self, key: &ChainKey) -> bool {
        self.chains.get(key).is_some_and(|chain| chain.flight == Flight::Alone)
    }

    /// Whether the key's row was refused before it came here.
    pub(crate) fn is_retry(&self, key: &ChainKey) -> bool {
        self.chains.get(key).is_some_and(|chain| chain.is_retry)
    }

    /// Whether a row could be sent alone now.
    pub(crate) fn can_probe(&self) -> bool {
        self.in_flight == 0 && !(self.ready.is_empty() && self.suspects.is_empty())
    }

    /// Whether a row waits that was never refused here.
    pub(crate) fn has_unrefused(&self) -> bool {
        !self.ready.is_empty()
    }

    /// One row alone, to see whether the topic takes it: preferably one that was never refused, and of those any.
    pub(crate) fn send_probe(&mut self, random: usize) -> Option<(ChainKey, &Row)> {
        if !self.can_probe() {
            return None;
        }
        let from = if self.ready.is_empty() { &mut self.suspects } else { &mut self.ready };
        let id = *from.keys().nth(random % from.len())?;
        let key = from.remove(&id)?;
        self.fly(key, Flight::Alone)
    }

    /// The next row to send, now in flight; none while the window is full or everything waits for the broker.
    pub(crate) fn send_next(&mut self) -> Option<(ChainKey, &Row)> {
        let (key, flight) = if self.suspects.is_empty() {
            if self.in_flight >= self.window || self.on_trial {
                return None;
            }
            (self.ready.pop_first()?.1, Flight::Pooled)
        } else {
            if self.in_flight > 0 {
                return None;
            }
            (self.suspects.pop_first()?.1, Flight::Alone)
        };
        self.fly(key, flight)
    }

    fn fly(&mut self, key: ChainKey, flight: Flight) -> Option<(ChainKey, &Row)> {
        let chain = self.chains.get_mut(&key)?;
        chain.flight = flight;
        self.in_flight += 1;
        self.on_trial = flight == Flight::Alone;
        Some((key, chain.rows.front()?))
    }

    /// The broker has the key's row in flight: gives it back, and makes the key's next row ready.
    pub(crate) fn acknowledged(&mut self, key: &ChainKey) -> Option<Row> {
        let chain = self.chains.get_mut(key)?;
        let row = chain.rows.pop_front()?;
        self.in_flight -= 1;
        self.on_trial = false;
        chain.flight = Flight::Waiting;
        if let Some(next) = chain.rows.front() {
            self.ready.insert(next.id, key.clone());
        } else {
            self.chains.remove(key);
        }
        Some(row)
    }

    /// Nobody knows whether the broker has the key's row in flight: it is to be sent again before any later one.
    pub(crate) fn unacknowledged(&mut self, key: &ChainKey) {
        let Some(chain) = self.chains.get_mut(key) else { return };
        let Some(head) = chain.rows.front() else { return };
        match chain.flight {
            Flight::Pooled => {
                self.ready.insert(head.id, key.clone());
            }
            Flight::Alone => {
                self.suspects.insert(head.id, key.clone());
            }
            Flight::Waiting | Flight::Blocked => return,
        }
        chain.flight = Flight::Waiting;
        self.in_flight -= 1;
        self.on_trial = false;
    }

    /// The broker refused the key's row in flight. In company that proves nothing, and the row will be sent again
    /// alone; alone it blocks the key, unless it is not to `block`.
    pub(crate) fn refused(&mut self, key: &ChainKey, block: bool) -> Option<BlockedKey> {
        let chain = self.chains.get_mut(key)?;
        let head = chain.rows.front()?;
        let id = head.id;
        self.in_flight -= 1;
        self.on_trial = false;
        if chain.flight == Flight::Alone && block {
            chain.flight = Flight::Blocked;
            let ids = chain.rows.drain(..).map(|row| row.id).collect();
            Some(BlockedKey { id, ids })
        } else {
            chain.flight = Flight::Waiting;
            self.suspects.insert(id, key.clone());
            None
        }
    }

    /// Nothing that is in flight will be heard of again: its producer is gone.
    pub(crate) fn abandon_flights(&mut self) {
        let flying: Vec<ChainKey> = self
            .chains
            .iter()
            .filter(|(_, chain)| matches!(chain.flight, Flight::Pooled | Flight::Alone))
            .map(|(key, _)| key.clone())
            .collect();
        for key in flying {
            self.unacknowledged(&key);
        }
    }

    /// The block of `key` is recorded: rows that come from now on were released by a person.
    pub(crate) fn forget_blocked(&mut self, key: &ChainKey) {
        if self.chains.get(key).is_some_and(|chain| chain.flight == Flight::Blocked) {
            self.chains.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::row::{chain_key, row};

    fn chains(window: usize, rows: &[(i64, &str)]) -> Chains {
        let mut chains = Chains::new(window);
        for (id, key) in rows {
            chains.push(row(*id, key, None)).unwrap();
        }
        chains
    }

    fn acknowledged(chains: &mut Chains, key: &str) -> Option<i64> {
        chains.acknowledged(&chain_key(key)).map(|row| row.id)
    }

    fn send(chains: &mut Chains) -> Vec<i64> {
        std::iter::from_fn(|| chains.send_next().map(|(_, row)| row.id)).collect()
    }

    #[test]
    fn only_the_lowest_row_of_each_key_is_in_flight() {
        let mut chains = chains(10, &[(1, "a"), (2, "a"), (3, "b"), (4, "a")]);
        assert_eq!(send(&mut chains), [1, 3]);
        assert_eq!(acknowledged(&mut chains, "a"), Some(1));
        assert_eq!(send(&mut chains), [2]);
        chains.push(row(5, "b", None)).unwrap();
        assert_eq!(send(&mut chains), Vec::<i64>::new());
        assert_eq!(acknowledged(&mut chains, "b"), Some(3));
        assert_eq!(send(&mut chains), [5]);
    }

    #[test]
    fn the_window_bounds_what_is_in_flight() {
        let mut chains = chains(2, &[(1, "a"), (2, "b"), (3, "c")]);
        assert_eq!(send(&mut chains), [1, 2]);
        assert_eq!(acknowledged(&mut chains, "b"), Some(2));
        assert_eq!(send(&mut chains), [3]);
        assert_eq!(chains.in_flight(), 2);
    }

    #[test]
    fn an_unacknowledged_row_is_sent_again_before_its_successor() {
        let mut chains = chains(10, &[(1, "a"), (2, "b"), (3, "a")]);
        assert_eq!(send(&mut chains), [1, 2]);
        chains.unacknowledged(&chain_key("a"));
        assert_eq!(acknowledged(&mut chains, "b"), Some(2));
        assert_eq!(send(&mut chains), [1]);
    }

    #[test]
    fn a_replaced_producer_repeats_every_flight_from_the_lowest_row() {
        let mut chains = chains(10, &[(1, "a"), (2, "b"), (3, "a"), (4, "c")]);
        assert_eq!(send(&mut chains), [1, 2, 4]);
        chains.abandon_flights();
        assert_eq!(chains.in_flight(), 0);
        assert_eq!(send(&mut chains), [1, 2, 4]);
    }

    #[test]
    fn a_refusal_in_company_is_tried_alone_before_anything_else_is_sent() {
        let mut chains = chains(10, &[(1, "a"), (2, "b"), (3, "c")]);
        assert_eq!(send(&mut chains), [1, 2, 3]);
        assert_eq!(chains.refused(&chain_key("a"), true), None);
        assert_eq!(chains.refused(&chain_key("b"), true), None);
        assert_eq!(send(&mut chains), Vec::<i64>::new(), "3 is still in flight");
        chains.unacknowledged(&chain_key("c"));
        assert_eq!(send(&mut chains), [1]);
        assert_eq!(acknowledged(&mut chains, "a"), Some(1));
        assert_eq!(send(&mut chains), [2]);
        assert_eq!(chains.refused(&chain_key("b"), true), Some(BlockedKey { id: 2, ids: vec![2] }));
        assert_eq!(send(&mut chains), [3]);
    }

    #[test]
    fn a_suspect_whose_trial_gave_no_answer_is_tried_alone_again() {
        let mut chains = chains(10, &[(1, "a"), (2, "b")]);
        assert_eq!(send(&mut chains), [1, 2]);
        assert_eq!(chains.refused(&chain_key("a"), true), None);
        chains.abandon_flights();
        assert_eq!(send(&mut chains), [1]);
        chains.abandon_flights();
        assert_eq!(send(&mut chains), [1]);
    }

    #[test]
    fn a_probe_is_a_row_that_was_never_refused_if_there_is_one_and_flies_alone() {
        let mut chains = chains(10, &[(1, "a"), (2, "b")]);
        assert_eq!(send(&mut chains), [1, 2]);
        assert_eq!(chains.refused(&chain_key("a"), false), None);
        assert_eq!(chains.send_probe(0), None, "2 is still in flight");
        assert_eq!(chains.refused(&chain_key("b"), false), None);
        chains.push(row(3, "c", None)).unwrap();
        assert_eq!(chains.send_probe(7).map(|(_, row)| row.id), Some(3));
        assert_eq!(send(&mut chains), Vec::<i64>::new());
        assert_eq!(chains.refused(&chain_key("c"), false), None, "not to be blocked");
        assert_eq!(chains.send_probe(1).map(|(_, row)| row.id), Some(2));
        assert_eq!(acknowledged(&mut chains, "b"), Some(2));
        assert_eq!(send(&mut chains), [1]);
    }

    #[test]
    fn what_was_refused_before_is_tried_alone_and_nothing_of_its_key_beside_it() {
        let mut chains = chains(10, &[(5, "b")]);
        chains.retry(row(1, "a", None)).unwrap();
        assert_eq!(chains.retry(row(2, "a", Some(1))), Err(2));
        assert_eq!(send(&mut chains), [1]);
        assert!(chains.is_alone(&chain_key("a")) && chains.is_retry(&chain_key("a")));
        assert_eq!(chains.refused(&chain_key("a"), true), Some(BlockedKey { id: 1, ids: vec![1] }));
        assert_eq!(send(&mut chains), [5]);
    }

    #[test]
    fn a_blocked_key_takes_no_rows_until_its_block_is_recorded() {
        let mut chains = chains(10, &[(1, "a"), (2, "a")]);
        assert_eq!(send(&mut chains), [1]);
        assert_eq!(chains.refused(&chain_key("a"), true), None);
        assert_eq!(send(&mut chains), [1]);
        assert_eq!(chains.refused(&chain_key("a"), true), Some(BlockedKey { id: 1, ids: vec![1, 2] }));
        assert_eq!(chains.push(row(3, "a", None)), Err(3));
        chains.forget_blocked(&chain_key("a"));
        chains.push(row(1, "a", None)).unwrap();
        assert_eq!(send(&mut chains), [1]);
    }
}
