//! Keys with many messages: a few rows of such a key are buffered; of those behind them only the ids are kept.
//!
//! A key's messages are published one after the other (docs/adr/0002). Were all rows of a long backlog buffered, the share of
//! its partition would be full of rows that wait for each other, and other keys would be read at the pace of this one.
//! The ids come from pages, in order. Their rows are read by id, also in order, as those before them are published.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::relay::row::QueueKey;

/// A key of a topic.
pub(super) type TopicKey = (Arc<str>, QueueKey);

/// How many rows of a key are buffered, about.
pub(super) const KEY_ROWS: usize = 16;
/// A key that has no more of them than this may get more.
const FEW_ROWS: usize = KEY_ROWS / 2;
/// How many ids are kept. What is beyond is left in the table, as if its partition had no room.
const MAX_IDS: usize = 100_000;
/// How many keys have ids kept.
const MAX_KEYS: usize = 1_000;

/// A message that is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) id: i64,
    pub(super) partition: i32,
}

/// What a page may take of the keys of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyRooms {
    /// Keys that have more than a few rows buffered, or ids kept. All others have room for a few rows.
    limited: HashMap<Arc<[u8]>, KeyRoom>,
    /// How many more ids can be kept.
    ids: usize,
    /// How many more keys can have ids kept.
    keys: usize,
    deferred: Vec<(Arc<[u8]>, Choice)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct KeyRoom {
    rows: usize,
    /// The last id that is kept. What comes next of the key has to be kept, too.
    deferred_to: Option<i64>,
}

/// What becomes of a message on a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// There is room for its row.
    Row,
    /// Its id is kept.
    Id,
    /// There is no room for its id either: it and what follows of its partition are left in the table.
    None,
}

impl KeyRooms {
    /// Whether all keys have room for a few rows.
    pub(super) fn are_unlimited(&self) -> bool {
        self.limited.is_empty()
    }

    /// Finds a place for the next message of a key, of which the page has taken so many rows.
    pub(super) fn place(&mut self, key: &[u8], taken: usize, choice: Choice) -> Place {
        let room = self.limited.get(key).copied();
        let KeyRoom { rows, deferred_to } = room.unwrap_or(KeyRoom { rows: FEW_ROWS, deferred_to: None });
        match deferred_to {
            Some(deferred_to) if choice.id <= deferred_to => return Place::Id,
            None if taken < rows => return Place::Row,
            None if self.keys == 0 => return Place::None,
            Some(_) | None if self.ids == 0 => return Place::None,
            None => self.keys -= 1,
            Some(_) => {}
        }
        self.ids -= 1;
        let key: Arc<[u8]> = key.into();
        self.limited.insert(Arc::clone(&key), KeyRoom { rows: 0, deferred_to: Some(choice.id) });
        self.deferred.push((key, choice));
        Place::Id
    }

    /// The messages whose ids are to be kept, in order.
    pub(super) fn deferred(&self) -> &[(Arc<[u8]>, Choice)] {
        &self.deferred
    }
}

/// The ids that are kept.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    ids_of: HashMap<TopicKey, VecDeque<Choice>>,
    ids: usize,
    /// Keys with more than a few rows buffered, and how many.
    limited: HashMap<TopicKey, usize>,
    /// Keys that may have few rows by now.
    due: HashSet<TopicKey>,
}

impl Deferred {
    pub(super) fn rooms(&self, topic: &str) -> KeyRooms {
        let of_topic = |key: &&TopicKey| &*key.0 == topic;
        let mut limited = HashMap::new();
        for (topic_key, rows) in self.limited.iter().filter(|(key, _)| of_topic(key)) {
            if let QueueKey::Key(key) = &topic_key.1 {
                let rows = KEY_ROWS.saturating_sub(*rows);
                limited.insert(Arc::clone(key), KeyRoom { rows, deferred_to: None });
            }
        }
        for (topic_key, ids) in self.ids_of.iter().filter(|(key, _)| of_topic(key)) {
            if let QueueKey::Key(key) = &topic_key.1 {
                let deferred_to = ids.back().map(|last| last.id);
                limited.insert(Arc::clone(key), KeyRoom { rows: 0, deferred_to });
            }
        }
        KeyRooms {
            limited,
            ids: MAX_IDS.saturating_sub(self.ids),
            keys: MAX_KEYS.saturating_sub(self.ids_of.len()),
            deferred: Vec::new(),
        }
    }

    /// Keeps the id of a message, behind those of its key.
    pub(super) fn keep(&mut self, topic_key: TopicKey, choice: Choice) {
        self.ids_of.entry(topic_key.clone()).or_default().push_back(choice);
        self.ids += 1;
        self.due.insert(topic_key);
    }

    /// So many rows of this key are buffered now.
    pub(super) fn buffered(&mut self, topic_key: &TopicKey, rows: usize) {
        if rows > FEW_ROWS {
            self.limited.insert(topic_key.clone(), rows);
        } else {
            // Mostly there is none: the key need not be hashed.
            if !self.limited.is_empty() {
                self.limited.remove(topic_key);
            }
            if self.ids_of.contains_key(topic_key) {
                self.due.insert(topic_key.clone());
            }
        }
    }

    /// The messages whose rows are to be read now, the next ones of each key that has few rows.
    pub(super) fn take_due(&mut self) -> Vec<Choice> {
        let mut taken = Vec::new();
        let (ids_of, limited) = (&mut self.ids_of, &self.limited);
        // A key stays due until it has more rows, or no ids are left.
        self.due.retain(|topic_key| {
            let Some(ids) = ids_of.get_mut(topic_key).filter(|_| !limited.contains_key(topic_key)) else {
                return false;
            };
            taken.extend(ids.drain(..ids.len().min(FEW_ROWS)));
            if ids.is_empty() {
                ids_of.remove(topic_key);
            }
            ids_of.contains_key(topic_key)
        });
        self.ids -= taken.len();
        taken
    }

    /// Keeps no ids of this key any more: a full scan will find its messages.
    pub(super) fn forget(&mut self, topic_key: &TopicKey) {
        if let Some(ids) = self.ids_of.remove(topic_key) {
            self.ids -= ids.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: usize = 20;

    fn key(key: &str) -> TopicKey {
        ("orders".into(), QueueKey::Key(key.as_bytes().into()))
    }

    fn choice(id: i64) -> Choice {
        Choice { id, partition: 0 }
    }

    fn ids(choices: &[Choice]) -> Vec<i64> {
        choices.iter().map(|choice| choice.id).collect()
    }

    /// What a page does with the next messages of a key.
    fn places(deferred: &mut Deferred, of: &str, messages: std::ops::Range<i64>) -> Vec<Place> {
        let (mut rooms, mut taken) = (deferred.rooms("orders"), 0);
        let mut place = |id| {
            let place = rooms.place(of.as_bytes(), taken, choice(id));
            taken += usize::from(place == Place::Row);
            place
        };
        let places = messages.map(&mut place).collect();
        for (_, choice) in rooms.deferred() {
            deferred.keep(key(of), *choice);
        }
        places
    }

    #[test]
    fn a_few_rows_of_a_key_are_taken_and_the_ids_of_the_others_kept_once() {
        let mut deferred = Deferred::default();
        let rows = i64::try_from(FEW_ROWS).unwrap();
        let expected = [[Place::Row; FEW_ROWS], [Place::Id; FEW_ROWS]].concat();
        assert_eq!(places(&mut deferred, "a", 0..2 * rows), expected);
        assert_eq!(places(&mut deferred, "a", rows..2 * rows + 1), [Place::Id; FEW_ROWS + 1]);
        assert_eq!(places(&mut deferred, "b", 100..101), [Place::Row]);
        assert_eq!(deferred.ids, FEW_ROWS + 1);
    }

    #[test]
    fn what_is_kept_is_due_in_order_while_few_rows_of_its_key_are_buffered() {
        let mut deferred = Deferred::default();
        for id in 0..KEPT as i64 {
            deferred.keep(key("a"), choice(id));
        }
        deferred.buffered(&key("a"), FEW_ROWS + 1);
        assert_eq!(deferred.take_due(), []);
        deferred.buffered(&key("a"), FEW_ROWS);
        assert_eq!(ids(&deferred.take_due()), (0..8).collect::<Vec<i64>>());
        deferred.buffered(&key("a"), KEY_ROWS);
        assert_eq!(deferred.take_due(), []);
        // Those that were read are published already, or were not there.
        deferred.buffered(&key("a"), 0);
        assert_eq!(ids(&deferred.take_due()), (8..16).collect::<Vec<i64>>());
        assert_eq!(ids(&deferred.take_due()), (16..20).collect::<Vec<i64>>());
        assert_eq!(deferred.take_due(), []);
        assert_eq!(deferred.ids, 0);
    }

    #[test]
    fn a_key_whose_ids_are_forgotten_has_room_for_rows_again() {
        let mut deferred = Deferred::default();
        places(&mut deferred, "a", 0..20);
        deferred.forget(&key("a"));
        assert_eq!((deferred.ids, deferred.take_due()), (0, Vec::new()));
        assert_eq!(places(&mut deferred, "a", 0..1), [Place::Row]);
    }

    #[test]
    fn beyond_the_bounds_nothing_is_kept() {
        let mut deferred = Deferred::default();
        for n in 0..MAX_KEYS {
            deferred.keep(key(&n.to_string()), choice(1));
        }
        let expected = [vec![Place::Row; FEW_ROWS], vec![Place::None]].concat();
        assert_eq!(places(&mut deferred, "a", 0..9), expected);
        deferred.ids = MAX_IDS;
        assert_eq!(places(&mut deferred, "0", 2..3), [Place::None]);
    }
}
