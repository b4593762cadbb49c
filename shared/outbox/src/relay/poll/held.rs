//! What the relay holds in memory: which rows the next read leaves out, and which row may follow which.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::relay::row::{ChainKey, Row};

/// What one row costs in memory beside its value.
const ROW_OVERHEAD_BYTES: usize = 512;

type TopicKey = (Arc<str>, ChainKey);

/// The rows that were read and are not yet seen finished.
#[derive(Debug)]
pub(super) struct Held {
    rows: HashMap<i64, HeldRow>,
    keys: HashMap<TopicKey, HeldKey>,
    topics: HashMap<Arc<str>, HeldTopic>,
    /// Keys whose block is known here and not yet recorded in the table: the table still shows their rows.
    blocking: HashSet<TopicKey>,
    limit: Limit,
}

/// How much of one topic is held at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

#[derive(Debug)]
struct HeldRow {
    topic_key: TopicKey,
    bytes: usize,
}

#[derive(Debug)]
struct HeldKey {
    /// The id of its last row here.
    tail: i64,
    rows: usize,
}

#[derive(Debug, Default)]
struct HeldTopic {
    ids: BTreeSet<i64>,
    highest: i64,
    bytes: usize,
    /// The last read stopped at the limit: the table has more.
    more: bool,
}

/// How much of one topic may be read now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) topic: String,
    /// Rows up to here are left to the next sweep. A hint, not a position: it only saves a walk over finished rows.
    pub(super) above_id: i64,
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

/// How far a read looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// From the lowest unpublished message: it saw everything that its room let through.
    Sweep,
    /// From the lowest row held: rows that appeared late below it were not seen.
    Ahead,
}

/// Whether a row that was read may be published.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It follows its predecessor.
    Admitted,
    /// Its key is being blocked.
    Blocking,
    /// Its predecessor appeared below what this read looked at: a sweep brings both.
    NeedsSweep,
    /// Its predecessor is missing: a row was deleted, or the rule under which ids are drawn was broken.
    Gap,
}

impl Held {
    pub(super) fn new(limit: Limit) -> Self {
        Self {
            rows: HashMap::new(),
            keys: HashMap::new(),
            topics: HashMap::new(),
            blocking: HashSet::new(),
            limit,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The ids that the next read leaves out: exactly these, never "everything up to an id".
    pub(super) fn ids(&self) -> Vec<i64> {
        self.rows.keys().copied().collect()
    }

    /// What of each known topic may be read. A topic with more to come is left alone until half of its share is
    /// free, so that reading costs little per row.
    pub(super) fn rooms(&self, scope: Scope) -> Vec<Room> {
        let room = |(topic, held): (&Arc<str>, &HeldTopic)| Room {
            topic: topic.to_string(),
            above_id: match scope {
                Scope::Sweep => 0,
                Scope::Ahead => held.ids.first().map_or(held.highest, |lowest| lowest - 1),
            },
            rows: self.limit.rows.saturating_sub(held.ids.len()),
            bytes: self.limit.bytes.saturating_sub(held.bytes),
        };
        self.topics
            .iter()
            .filter(|(_, held)| !held.more || self.half_is_free(held))
            .map(room)
            .filter(|room| room.rows > 0 && room.bytes > 0)
            .collect()
    }

    /// The topics that were met so far.
    pub(super) fn known_topics(&self) -> Vec<String> {
        self.topics.keys().map(ToString::to_string).collect()
    }

    /// What may be read of a topic that was never met.
    pub(super) const fn limit(&self) -> Limit {
        self.limit
    }

    /// Whether a topic has more to come and room for it.
    pub(super) fn wants_more(&self) -> bool {
        self.topics.values().any(|held| held.more && self.half_is_free(held))
    }

    fn half_is_free(&self, held: &HeldTopic) -> bool {
        held.ids.len() * 2 <= self.limit.rows && held.bytes * 2 <= self.limit.bytes
    }

    /// Takes a row up, if it is the next one of its key.
    pub(super) fn admit(&mut self, row: &Row, scope: Scope) -> Admission {
        let topic = self
            .topics
            .get_key_value(row.topic.as_str())
            .map_or_else(|| Arc::from(row.topic.as_str()), |(topic, _)| Arc::clone(topic));
        let topic_key: TopicKey = (topic, row.chain_key());
        if self.blocking.contains(&topic_key) {
            return Admission::Blocking;
        }
        let follows = match self.keys.get(&topic_key) {
            Some(key) => row.previous_id == Some(key.tail),
            None => row.predecessor_published == Some(true),
        };
        if !follows {
            if scope == Scope::Ahead && row.predecessor_published == Some(false) {
                return Admission::NeedsSweep;
            }
            self.blocking.insert(topic_key);
            return Admission::Gap;
        }
        let bytes = row.bytes() + ROW_OVERHEAD_BYTES;
        let topic = self.topics.entry(Arc::clone(&topic_key.0)).or_default();
        topic.ids.insert(row.id);
        topic.highest = topic.highest.max(row.id);
        topic.bytes += bytes;
        let key = self.keys.entry(topic_key.clone()).or_insert(HeldKey { tail: 0, rows: 0 });
        key.tail = row.id;
        key.rows += 1;
        self.rows.insert(row.id, HeldRow { topic_key, bytes });
        Admission::Admitted
    }

    /// Notes whether a read of `topic` stopped at its limit.
    pub(super) fn note_more(&mut self, topic: &str, more: bool) {
        self.topics.entry(Arc::from(topic)).or_default().more = more;
    }

    /// The key is to be blocked: none of its rows is taken up any more.
    pub(super) fn block(&mut self, topic: &str, key: &ChainKey) {
        self.blocking.insert((Arc::from(topic), key.clone()));
    }

    /// The block is recorded: the table no longer shows the key's rows.
    pub(super) fn block_recorded(&mut self, topic: &str, key: &ChainKey) {
        self.blocking.remove(&(Arc::from(topic), key.clone()));
    }

    /// Lets rows go: the table knows what became of them.
    pub(super) fn release(&mut self, ids: &[i64]) {
        for id in ids {
            let Some(row) = self.rows.remove(id) else { continue };
            if let Some(topic) = self.topics.get_mut(&row.topic_key.0) {
                topic.ids.remove(id);
                topic.bytes -= row.bytes;
            }
            if let Some(key) = self.keys.get_mut(&row.topic_key) {
                key.rows -= 1;
                if key.rows == 0 {
                    self.keys.remove(&row.topic_key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::row::row;

    fn held(rows: usize) -> Held {
        Held::new(Limit { rows, bytes: 1_000_000 })
    }

    #[test]
    fn a_row_follows_a_held_one_or_a_finished_one() {
        let mut held = held(10);
        assert_eq!(held.admit(&row(1, "a", None), Scope::Sweep), Admission::Admitted);
        assert_eq!(held.admit(&row(2, "a", Some(1)), Scope::Sweep), Admission::Admitted);
        held.release(&[1, 2]);
        let mut third = row(3, "a", Some(2));
        third.predecessor_published = Some(true);
        assert_eq!(held.admit(&third, Scope::Sweep), Admission::Admitted);
    }

    #[test]
    fn a_row_without_its_predecessor_blocks_its_key_and_no_other() {
        let mut held = held(10);
        assert_eq!(held.admit(&row(2, "a", Some(1)), Scope::Sweep), Admission::Gap);
        assert_eq!(held.admit(&row(3, "a", Some(2)), Scope::Sweep), Admission::Blocking);
        assert_eq!(held.admit(&row(4, "b", None), Scope::Sweep), Admission::Admitted);
        assert_eq!(held.admit(&row(5, "b", Some(3)), Scope::Sweep), Admission::Gap);
    }

    #[test]
    fn an_acknowledged_row_is_left_out_until_the_table_knows() {
        let mut held = held(10);
        held.admit(&row(1, "a", None), Scope::Sweep);
        assert_eq!(held.ids(), [1]);
        held.release(&[1]);
        assert!(held.is_empty());
    }

    #[test]
    fn a_full_topic_is_read_again_when_half_of_it_is_free() {
        let mut held = held(4);
        for id in 1..=4 {
            held.admit(&row(id, &id.to_string(), None), Scope::Sweep);
        }
        held.note_more("orders", true);
        held.release(&[1]);
        assert!(!held.wants_more());
        assert_eq!(held.rooms(Scope::Ahead), []);
        held.release(&[2]);
        assert!(held.wants_more());
        let room = Room { topic: "orders".to_owned(), above_id: 2, rows: 2, bytes: 1_000_000 - 2 * 514 };
        assert_eq!(held.rooms(Scope::Ahead), std::slice::from_ref(&room));
        assert_eq!(held.rooms(Scope::Sweep), [Room { above_id: 0, ..room }]);
    }

    #[test]
    fn a_row_whose_predecessor_appeared_late_waits_for_the_sweep_that_brings_both() {
        let mut held = held(10);
        let mut second = row(7, "a", Some(5));
        second.predecessor_published = Some(false);
        assert_eq!(held.admit(&second, Scope::Ahead), Admission::NeedsSweep);
        assert_eq!(held.admit(&row(5, "a", None), Scope::Sweep), Admission::Admitted);
        assert_eq!(held.admit(&second, Scope::Sweep), Admission::Admitted);
    }

    #[test]
    fn a_row_whose_predecessor_a_sweep_does_not_bring_is_a_gap() {
        let mut held = held(10);
        let mut second = row(5, "a", Some(3));
        second.predecessor_published = Some(false);
        assert_eq!(held.admit(&second, Scope::Sweep), Admission::Gap);
    }

    #[test]
    fn rows_without_a_key_follow_nobody() {
        let mut held = held(10);
        for id in [1, 2] {
            let alone = Row { key: None, ..row(id, "", None) };
            assert_eq!(held.admit(&alone, Scope::Sweep), Admission::Admitted);
        }
    }
}
