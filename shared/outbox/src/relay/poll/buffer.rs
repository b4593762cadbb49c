//! What the relay holds in memory: which rows the next read leaves out, and which row may follow which.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use messaging::TopicPartition;

use super::deferred::{Choice, Deferred, KEY_ROWS, TopicKey};
use super::partitions::{Limit, PAGE_ROWS, Page, Partitions, ROW_OVERHEAD_BYTES, Scope};
use crate::relay::row::{QueueKey, Row};

#[cfg(test)]
mod tests;

/// The rows that were read and are not yet seen finished.
#[derive(Debug)]
pub(super) struct Buffer {
    rows: HashMap<i64, BufferedRow>,
    keys: HashMap<TopicKey, BufferedKey>,
    /// Few, and looked up for each row.
    topics: BTreeMap<Arc<str>, Partitions>,
    /// Keys whose block is known here and not yet recorded in the table: the table still shows their rows.
    blocking: HashSet<TopicKey>,
    /// Messages of which only the ids are here.
    deferred: Deferred,
    /// How much of one topic is buffered at most.
    limit: Limit,
}

#[derive(Debug)]
struct BufferedRow {
    topic_key: TopicKey,
    partition: i32,
    bytes: usize,
    /// Its key is blocked with it: it is being tried again.
    is_retry: bool,
    /// The log brought it, and the table does not have it as pending.
    is_logged: bool,
}

#[derive(Debug, Default)]
struct BufferedKey {
    /// The id of its last row here.
    tail: i64,
    rows: usize,
    /// Those of them that the log brought, and the table does not have as pending.
    logged: Vec<i64>,
}

/// Whether a row that was read may be published.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RowDecision {
    /// It follows its predecessor.
    Admitted,
    /// Its key is being blocked.
    Blocking,
    /// Its predecessor appeared below what this read looked at: a full scan brings both.
    NeedsFullScan,
    /// Its predecessor is missing: a row was deleted, or the rule under which ids are drawn was broken.
    Gap,
}

/// Whether a row that the log has brought is published from here.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Logged {
    /// It follows its predecessor.
    Admitted,
    /// It is behind messages of its key that are published from the table.
    Behind,
    /// It was published before.
    Again,
    /// Its predecessor is missing.
    Gap,
}

impl Buffer {
    pub(super) fn new(limit: Limit) -> Self {
        Self {
            rows: HashMap::new(),
            keys: HashMap::new(),
            topics: BTreeMap::new(),
            blocking: HashSet::new(),
            deferred: Deferred::default(),
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

    /// The topic can be read: it has so many partitions, in so many shares.
    pub(super) fn add_topic(&mut self, topic: &str, partitions: i32, shares: usize) {
        let limit = self.limit;
        self.topics.entry(Arc::from(topic)).or_insert_with(|| Partitions::new(partitions, shares, limit));
    }

    /// What a read of this scope looks at, of each topic.
    pub(super) fn pages(&self, scope: Scope) -> Vec<Page> {
        let page = |(topic, partitions): (&Arc<str>, &Partitions)| {
            partitions.page(topic, scope, PAGE_ROWS, self.deferred.rooms(topic))
        };
        self.topics.iter().filter_map(page).collect()
    }

    pub(super) const fn limit(&self) -> Limit {
        self.limit
    }

    /// Whether the table has more of a partition that has room for it.
    pub(super) fn wants_more(&self) -> bool {
        self.topics.values().any(Partitions::want_more)
    }

    /// The topic can be read.
    pub(super) fn knows(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    /// The shares of partitions of which rows are buffered.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (Arc<str>, i32)> {
        let topics = self.topics.iter();
        topics.flat_map(|(topic, shares)| shares.waiting().map(|share| (Arc::clone(topic), share)))
    }

    /// Which share this row is buffered of.
    pub(super) fn share_of(&self, id: i64) -> Option<(Arc<str>, i32)> {
        self.rows.get(&id).map(|row| (Arc::clone(&row.topic_key.0), row.partition))
    }

    /// The partitions that are counted as this share.
    pub(super) fn partitions_of(&self, topic: &str, share: i32) -> Vec<TopicPartition> {
        let of_share = self.topics.get(topic).into_iter().flat_map(|partitions| partitions.of_share(share));
        of_share.map(|partition| TopicPartition { topic: topic.to_owned(), partition }).collect()
    }

    pub(super) fn begin_full_scan(&mut self) {
        self.topics.values_mut().for_each(Partitions::begin_full_scan);
    }

    pub(super) fn is_in_full_scan(&self) -> bool {
        self.topics.values().any(Partitions::is_in_full_scan)
    }

    /// Takes note of what a read saw of a topic.
    pub(super) fn note(&mut self, page: &Page, scope: Scope) {
        let Some((topic, _)) = self.topics.get_key_value(page.topic.as_str()) else { return };
        let topic = Arc::clone(topic);
        for (key, choice) in page.key_rooms.deferred() {
            let topic_key = (Arc::clone(&topic), QueueKey::Key(Arc::clone(key)));
            // A full scan finds them when the block is gone.
            if !self.blocking.contains(&topic_key) {
                self.deferred.keep(topic_key, *choice);
            }
        }
        if let Some(partitions) = self.topics.get_mut(&topic) {
            partitions.note(page, scope);
        }
    }

    /// Messages whose ids were kept and whose rows are to be read now.
    pub(super) fn take_deferred(&mut self) -> Vec<Choice> {
        self.deferred.take_due()
    }

    /// Takes a row of this partition up, if it is the next one of its key. `from_lowest`: the read began at the lowest
    /// unpublished message, and so shows whatever comes before this one.
    pub(super) fn admit(&mut self, row: &Row, partition: i32, from_lowest: bool) -> RowDecision {
        let topic_key = self.topic_key(row);
        if self.blocking.contains(&topic_key) {
            return RowDecision::Blocking;
        }
        let follows = match self.keys.get(&topic_key) {
            Some(key) => row.previous_id == Some(key.tail),
            None => row.predecessor_published == Some(true),
        };
        if !follows {
            self.deferred.forget(&topic_key);
            if !from_lowest && row.predecessor_published == Some(false) {
                return RowDecision::NeedsFullScan;
            }
            self.blocking.insert(topic_key);
            return RowDecision::Gap;
        }
        self.hold(topic_key, row, partition, false);
        RowDecision::Admitted
    }

    fn topic_key(&self, row: &Row) -> TopicKey {
        let topic = self
            .topics
            .get_key_value(row.topic.as_str())
            .map_or_else(|| Arc::from(row.topic.as_str()), |(topic, _)| Arc::clone(topic));
        (topic, row.queue_key())
    }

    /// Buffers the next row of its key.
    fn hold(&mut self, topic_key: TopicKey, row: &Row, partition: i32, is_logged: bool) {
        let bytes = row.bytes() + ROW_OVERHEAD_BYTES;
        if let Some(partitions) = self.topics.get_mut(&topic_key.0) {
            partitions.hold(partition, row.id, bytes);
        }
        let key = self.keys.entry(topic_key.clone()).or_default();
        key.tail = row.id;
        key.rows += 1;
        if is_logged {
            key.logged.push(row.id);
        }
        self.deferred.buffered(&topic_key, key.rows);
        self.rows.insert(row.id, BufferedRow { topic_key, partition, bytes, is_retry: false, is_logged });
    }

    /// Takes a row up with which its key is blocked, and returns its partition; none when it can't be tried now.
    pub(super) fn admit_retry(&mut self, row: &Row) -> Option<i32> {
        let partition = self.topics.get(row.topic.as_str())?.partition_of(row.id, row.key.as_deref());
        let (topic, _) = self.topics.get_key_value(row.topic.as_str())?;
        let topic_key = (Arc::clone(topic), row.queue_key());
        if self.keys.contains_key(&topic_key) || self.admit(row, partition, false) != RowDecision::Admitted {
            return None;
        }
        self.rows.get_mut(&row.id)?.is_retry = true;
        Some(partition)
    }

    /// In which share a message of the log is counted, and whether there is room; none while the partitions of its topic are
    /// unknown. A share of which the table has more leaves some room for that; one that is `slow` has to be half empty.
    pub(super) fn room(&self, row: &Row, slow: impl Fn(i32) -> bool) -> Option<(i32, bool)> {
        let partitions = self.topics.get(row.topic.as_str())?;
        let share = partitions.partition_of(row.id, row.key.as_deref());
        Some((share, partitions.has_room(share, slow(share))))
    }

    /// Whether so many rows of its key are buffered that the next ones are left in the table.
    pub(super) fn is_busy(&self, row: &Row) -> bool {
        self.keys.get(&self.topic_key(row)).is_some_and(|key| key.rows >= KEY_ROWS)
    }

    /// Takes up a row that the log has brought.
    pub(super) fn admit_logged(&mut self, row: &Row, partition: i32) -> Logged {
        let topic_key = self.topic_key(row);
        if self.blocking.contains(&topic_key) {
            return Logged::Behind;
        }
        match (self.keys.get(&topic_key), row.predecessor_published) {
            (Some(key), _) if row.previous_id == Some(key.tail) => {}
            (None, Some(true)) => {}
            (_, Some(false)) => return Logged::Behind,
            // What is buffered of the key comes after it: the log has brought it before.
            (Some(_), Some(true)) => return Logged::Again,
            (_, None) => {
                self.blocking.insert(topic_key);
                return Logged::Gap;
            }
        }
        self.hold(topic_key, row, partition, true);
        Logged::Admitted
    }

    /// Whether the log brought it, and it is not pending.
    pub(super) fn is_logged(&self, id: i64) -> bool {
        self.rows.get(&id).is_some_and(|row| row.is_logged)
    }

    /// The rows of a key that the log has brought and that are not pending: they become so from now on.
    pub(super) fn make_pending(&mut self, row: &Row) -> Vec<i64> {
        let topic_key = self.topic_key(row);
        let logged = self.keys.get_mut(&topic_key).map(|key| std::mem::take(&mut key.logged));
        let mut pending = logged.unwrap_or_default();
        pending.retain(|id| self.rows.get_mut(id).is_some_and(|row| std::mem::take(&mut row.is_logged)));
        pending
    }

    /// The topic of a row that the log has brought and that was not pending: it becomes so from now on.
    pub(super) fn make_one_pending(&mut self, id: i64) -> Option<String> {
        let row = self.rows.get_mut(&id).filter(|row| row.is_logged)?;
        row.is_logged = false;
        Some(row.topic_key.0.to_string())
    }

    /// The table has this message of the topic, and no read has shown it. Returns whether only a full scan can show it.
    pub(super) fn left_in_table(&mut self, topic: &str, id: i64, key: Option<&[u8]>) -> bool {
        self.topics.get_mut(topic).is_none_or(|partitions| partitions.left_in_table(id, key))
    }

    /// Whether one of these rows had its key blocked.
    pub(super) fn any_is_retry(&self, ids: &[i64]) -> bool {
        ids.iter().any(|id| self.is_retry(*id))
    }

    pub(super) fn is_retry(&self, id: i64) -> bool {
        self.rows.get(&id).is_some_and(|row| row.is_retry)
    }

    /// The key is to be blocked: none of its rows is taken up any more.
    pub(super) fn block(&mut self, topic: &str, key: &QueueKey) {
        let topic_key = (Arc::from(topic), key.clone());
        self.deferred.forget(&topic_key);
        self.blocking.insert(topic_key);
    }

    /// The block is recorded: the table no longer shows the key's rows.
    pub(super) fn block_recorded(&mut self, topic: &str, key: &QueueKey) {
        self.blocking.remove(&(Arc::from(topic), key.clone()));
    }

    /// Lets rows go: the table knows what became of them.
    pub(super) fn release(&mut self, ids: &[i64]) {
        for id in ids {
            let Some(row) = self.rows.remove(id) else { continue };
            if let Some(partitions) = self.topics.get_mut(&row.topic_key.0) {
                partitions.release(row.partition, *id, row.bytes);
            }
            if let Entry::Occupied(mut key) = self.keys.entry(row.topic_key) {
                key.get_mut().rows -= 1;
                key.get_mut().logged.retain(|logged| logged != id);
                self.deferred.buffered(key.key(), key.get().rows);
                if key.get().rows == 0 {
                    key.remove();
                }
            }
        }
    }
}
