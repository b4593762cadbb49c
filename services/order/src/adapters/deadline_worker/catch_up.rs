//! What has to be consumed before expired deadlines act: an end offset per partition, held until the consumers reach it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use contracts::topics::PARTITIONS;
use messaging::{TopicPartition, Watermarks, partition_for_key};

use crate::adapters::postgres::{Due, Position};

// What was paid before its deadline is confirmed, however far the consumers lag:
//
//     payments    PaymentCompleted is appended at offset 7
//     clock       the deadline passes
//     worker      reads the end offset: 8
//     consumer    applies offset 7, the order is confirmed; commits position 8
//     worker      position 8 has reached the end offset: cancels what is still open
//
// The end offset is read after the deadline passed, so that it lies behind the payment, and it is kept until it is
// reached: one read anew would move ahead of consumers that lag.

/// The ends of the topics that order listens to, read after deadlines had expired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatchUpBarrier {
    partitions: BTreeMap<TopicPartition, Partition>,
    /// Every partition count that a topic had: a key may lie on a partition of each.
    counts: BTreeMap<String, BTreeSet<i32>>,
}

/// How much of one partition was consumed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Partition {
    /// The consumers have applied everything that was on it by then.
    consumed_until: Option<DateTime<Utc>>,
    /// Held until it is reached: a new one would lie further ahead, out of reach of consumers that lag.
    awaited: Option<End>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    /// The offset was read after these deadlines had expired.
    read_at: DateTime<Utc>,
    marks: Watermarks,
}

impl CatchUpBarrier {
    /// A topic has so many partitions now.
    pub(super) fn note_partition_count(&mut self, topic: &str, partitions: usize) {
        let counts = self.counts.entry(topic.to_owned()).or_insert_with(|| BTreeSet::from([PARTITIONS]));
        counts.extend(i32::try_from(partitions));
    }

    /// Whether the partition's end has to be read for deadlines up to `newest`.
    pub(super) fn needs_end(&self, partition: &TopicPartition, newest: DateTime<Utc>) -> bool {
        self.partitions.get(partition).is_none_or(|partition| {
            partition.awaited.is_none() && partition.consumed_until.is_none_or(|until| until < newest)
        })
    }

    /// The partition's end has to be reached.
    pub(super) fn await_end(&mut self, partition: TopicPartition, read_at: DateTime<Utc>, marks: Watermarks) {
        self.partitions.entry(partition).or_default().awaited = Some(End { read_at, marks });
    }

    /// Passes the ends that the consumers have reached. A partition without a position is passed only if it holds nothing, a
    /// stopped one never.
    pub(super) fn advance(&mut self, positions: &[Position]) {
        for (id, partition) in &mut self.partitions {
            let position = positions
                .iter()
                .find(|position| (&position.topic, position.partition) == (&id.topic, id.partition));
            let is_reached = |end: &mut End| match position {
                Some(position) => !position.is_stopped && position.next_offset >= end.marks.high,
                None => end.marks.low == end.marks.high,
            };
            if let Some(end) = partition.awaited.take_if(is_reached) {
                partition.consumed_until = Some(end.read_at);
            }
        }
    }

    /// Whether everything was consumed that was on the order's partitions when its deadline had passed.
    pub(super) fn is_passed_for(&self, due: &Due) -> bool {
        let key = due.order_id.to_string();
        self.counts.iter().all(|(topic, counts)| {
            counts.iter().all(|count| {
                let partition = partition_for_key(key.as_bytes(), *count);
                let id = TopicPartition { topic: topic.clone(), partition };
                let consumed_until = self.partitions.get(&id).and_then(|partition| partition.consumed_until);
                consumed_until.is_some_and(|until| due.look_at <= until)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use uuid::Uuid;

    use super::*;

    const TOPIC: &str = "tidings.payments";
    const EXPIRED_AT: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn id(partition: i32) -> TopicPartition {
        TopicPartition { topic: TOPIC.to_owned(), partition }
    }

    fn at(partition: i32, next_offset: i64) -> Position {
        Position { topic: TOPIC.to_owned(), partition, next_offset, is_stopped: false }
    }

    /// An order whose key lies on this partition of so many.
    fn due_on(partition: i32, count: i32) -> Due {
        let orders = (0..).map(Uuid::from_u128);
        let is_on = |order: &Uuid| partition_for_key(order.to_string().as_bytes(), count) == partition;
        Due { order_id: orders.into_iter().find(is_on).unwrap(), look_at: EXPIRED_AT }
    }

    /// The ends of these partitions were read to be 5.
    fn held(partitions: impl IntoIterator<Item = i32>) -> CatchUpBarrier {
        let mut barrier = CatchUpBarrier::default();
        barrier.note_partition_count(TOPIC, 6);
        for partition in partitions {
            barrier.await_end(id(partition), EXPIRED_AT, Watermarks { partition, low: 0, high: 5 });
        }
        barrier
    }

    #[test]
    fn an_order_waits_for_its_own_partition() {
        let mut barrier = held([0, 1, 2]);
        barrier.advance(&[at(0, 5), at(1, 4)]);
        assert!(barrier.is_passed_for(&due_on(0, 6)));
        assert!(!barrier.is_passed_for(&due_on(1, 6)), "one record is missing");
        assert!(!barrier.is_passed_for(&due_on(2, 6)), "nothing of it was applied");
        assert!(!barrier.is_passed_for(&due_on(3, 6)), "its end is not known");
        barrier.advance(&[at(1, 7)]);
        assert!(barrier.is_passed_for(&due_on(1, 6)));
    }

    #[test]
    fn a_deadline_that_passed_after_the_ends_were_read_waits_for_new_ones() {
        let mut barrier = held([0]);
        let later = EXPIRED_AT + TimeDelta::seconds(1);
        assert!(!barrier.needs_end(&id(0), later), "the end is held until it is reached");
        barrier.advance(&[at(0, 5)]);
        assert!(barrier.needs_end(&id(0), later) && !barrier.needs_end(&id(0), EXPIRED_AT));
        assert!(!barrier.is_passed_for(&Due { look_at: later, ..due_on(0, 6) }));
    }

    #[test]
    fn a_stopped_partition_passes_no_end() {
        let mut barrier = held([0]);
        barrier.advance(&[Position { is_stopped: true, ..at(0, 1_000) }]);
        assert!(!barrier.is_passed_for(&due_on(0, 6)));
    }

    #[test]
    fn an_order_waits_for_its_partition_under_every_count_that_the_topic_had() {
        let mut barrier = held(0..6);
        barrier.note_partition_count(TOPIC, 8);
        let order = due_on(7, 8);
        barrier.advance(&(0..6).map(|partition| at(partition, 5)).collect::<Vec<_>>());
        assert!(!barrier.is_passed_for(&order));
        barrier.await_end(id(7), EXPIRED_AT, Watermarks { partition: 7, low: 0, high: 0 });
        barrier.advance(&[]);
        assert!(barrier.is_passed_for(&order));
    }
}
