//! Reads topics as a consumer does, and knows what was seen of each key in which order.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contracts::Envelope;
use messaging::{Bus, Delivered, Membership, Partition, Subscription, TopicPartition};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Everything seen so far.
#[derive(Default)]
struct Seen {
    by_key: HashMap<(String, String), Vec<Delivered>>,
    /// Where to read on. A partition may be taken away and given back.
    next: HashMap<TopicPartition, i64>,
}

pub(crate) struct Watcher {
    seen: Arc<Mutex<Seen>>,
    version: watch::Receiver<u64>,
    /// How long a message may take.
    pub(crate) timeout: Duration,
    _reading: JoinSet<()>,
}

impl Watcher {
    /// Reads these topics from their beginning.
    pub(crate) async fn start(bus: &dyn Bus, topics: &[String], timeout: Duration) -> Self {
        let group = testkit::broker::unique("watcher");
        let mut consumer = bus.subscribe(&group, &Subscription::Topics(topics.to_vec())).await.unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (changed, version) = watch::channel(0);
        let mut reading = JoinSet::new();
        let into = Arc::clone(&seen);
        reading.spawn(async move {
            let mut partitions = JoinSet::new();
            while let Ok(change) = consumer.next().await {
                if let Membership::Assigned(assigned) = change {
                    for partition in assigned {
                        partitions.spawn(read(partition, Arc::clone(&into), changed.clone()));
                    }
                }
            }
        });
        Self { seen, version, timeout, _reading: reading }
    }

    /// The sequences seen of a key, repetitions included.
    pub(crate) fn sequences(&self, topic: &str, key: &str) -> Vec<i64> {
        self.records(topic, key).iter().map(|record| envelope(record).sequence).collect()
    }

    /// The records seen of a key.
    pub(crate) fn records(&self, topic: &str, key: &str) -> Vec<Delivered> {
        let seen = self.seen.lock().unwrap();
        seen.by_key.get(&(topic.to_owned(), key.to_owned())).cloned().unwrap_or_default()
    }

    /// How many records were seen.
    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().by_key.values().map(Vec::len).sum()
    }

    /// How many of these messages, by topic, key and sequence, were not seen.
    pub(crate) fn missing(&self, messages: &[(String, Vec<u8>, i64)]) -> usize {
        let seen = self.seen.lock().unwrap();
        let seen: HashSet<(&str, &[u8], i64)> = seen
            .by_key
            .iter()
            .flat_map(|((topic, key), records)| {
                records.iter().map(|record| (topic.as_str(), key.as_bytes(), envelope(record).sequence))
            })
            .collect();
        let is_missing = |(topic, key, sequence): &&(String, Vec<u8>, i64)| {
            !seen.contains(&(topic.as_str(), key.as_slice(), *sequence))
        };
        messages.iter().filter(is_missing).count()
    }

    /// How many different keys were seen.
    pub(crate) fn keys(&self) -> usize {
        self.seen.lock().unwrap().by_key.len()
    }

    /// Waits until `done` holds of what was seen, and fails with `what` otherwise.
    pub(crate) async fn until(&self, what: &str, limit: Duration, done: impl Fn(&Self) -> bool) {
        let mut version = self.version.clone();
        let waiting = async {
            while !done(self) {
                version.changed().await.expect("the watcher reads");
            }
        };
        if tokio::time::timeout(limit, waiting).await.is_err() {
            panic!("{what}: not within {limit:?}; seen: {} records of {} keys", self.count(), self.keys());
        }
    }

    /// Waits for the key's `last` sequence.
    pub(crate) async fn until_seen(&self, topic: &str, key: &str, last: i64) {
        let what = format!("{last} of {key} on {topic}");
        self.until(&what, self.timeout, |watcher| watcher.sequences(topic, key).contains(&last)).await;
    }

    /// Fails unless each key's first occurrences are 1, 2, 3, ... without a gap.
    pub(crate) fn assert_in_sequence(&self) {
        let seen = self.seen.lock().unwrap();
        for ((topic, key), records) in &seen.by_key {
            let sequences: Vec<i64> = records.iter().map(|record| envelope(record).sequence).collect();
            let mut next = 1;
            for sequence in &sequences {
                assert!(*sequence <= next, "{topic}/{key}: {sequence} came before {next}: {sequences:?}");
                next += i64::from(*sequence == next);
            }
        }
    }
}

async fn read(mut partition: Box<dyn Partition>, seen: Arc<Mutex<Seen>>, changed: watch::Sender<u64>) {
    let id = partition.id().clone();
    let next = seen.lock().unwrap().next.get(&id).copied().unwrap_or(0);
    if partition.seek(next).await.is_err() {
        // Taken away already.
        return;
    }
    while let Some(Ok(batch)) = partition.next_batch(1_000, 1 << 20).await {
        let mut seen = seen.lock().unwrap();
        for record in batch.records {
            let next = seen.next.entry(id.clone()).or_insert(0);
            // The reader of before may have had a last batch in hand.
            if record.offset < *next {
                continue;
            }
            *next = record.offset + 1;
            let Ok(key) = String::from_utf8(record.key.clone().unwrap_or_default()) else { continue };
            seen.by_key.entry((id.topic.clone(), key)).or_default().push(record);
        }
        drop(seen);
        changed.send_modify(|version| *version += 1);
    }
}

pub(crate) fn envelope(record: &Delivered) -> Envelope {
    Envelope::from_headers(&record.headers).unwrap()
}
