//! One key with a long backlog: its records follow each other one by one, those of other keys do not wait for them.

use messaging::{Fault, FaultRule, Record, Refusal, partition_for_key};

use crate::relays::Poll;
use crate::stage::{Stage, TIMEOUT, append, message};
use crate::way::PARTITIONS;

const BUSY: &str = "busy";
/// How many messages are buffered of a partition, and four times as many.
const ROOM: usize = 100;
const BACKLOG: i64 = 400;

fn small() -> Poll {
    let mut factory = Poll::default();
    factory.0.buffer_messages = ROOM * usize::try_from(PARTITIONS).unwrap();
    factory.0.max_in_flight_records = factory.0.buffer_messages;
    factory
}

/// Keys of the partition of the busy one.
fn others(count: usize) -> Vec<String> {
    let partition = partition_for_key(BUSY.as_bytes(), PARTITIONS);
    let keys = (0..).map(|n| format!("key-{n}"));
    keys.filter(|key| partition_for_key(key.as_bytes(), PARTITIONS) == partition).take(count).collect()
}

/// Appends the backlog, and behind it one message of each of the other keys.
async fn append_all(stage: &Stage, others: &[String]) {
    let mut conn = stage.pool().acquire().await.unwrap();
    let backlog = (1..=BACKLOG).map(|sequence| message(&stage.orders, BUSY, sequence)).collect();
    append(&mut conn, &stage.outbox, backlog).await.unwrap();
    let behind = others.iter().map(|key| message(&stage.orders, key, 1)).collect();
    append(&mut conn, &stage.outbox, behind).await.unwrap();
}

/// The record of this sequence of the busy key.
fn is_busy(sequence: i64) -> impl Fn(&Record) -> bool + Send + Sync {
    move |record| {
        let mut sequences = record.headers.iter().filter(|(name, _)| name == "ce_sequence");
        record.key.as_deref() == Some(BUSY.as_bytes())
            && sequences.next_back().is_some_and(|(_, value)| *value == sequence.to_string().into_bytes())
    }
}

pub(crate) async fn a_key_with_a_long_backlog_holds_up_no_others_of_its_partition() {
    let (stage, _) = Stage::in_memory().await;
    let others = others(50);
    append_all(&stage, &others).await;
    let relay = stage.start(&small());
    stage.watcher.until("the other keys", TIMEOUT, |watcher| watcher.keys() > others.len()).await;
    let before = i64::try_from(stage.watcher.records(&stage.orders, BUSY).len()).unwrap();
    assert!(
        before < BACKLOG / 2,
        "{before} of {BACKLOG} messages of one key were published before the other keys"
    );
    stage.watcher.until_seen(&stage.orders, BUSY, BACKLOG).await;
    stage.until_published().await;
    stage.watcher.assert_in_sequence();
    relay.stop().await;
}

pub(crate) async fn a_long_backlog_is_published_in_sequence_although_a_record_in_it_fails() {
    for fault in [Fault::Refuse(Refusal::Timestamp), Fault::TimeOut, Fault::LoseAcknowledgement] {
        let (stage, bus) = Stage::in_memory().await;
        // A record that is refused blocks its key, and is tried again.
        for sequence in [1, 20, 100] {
            bus.inject(FaultRule::times(3, fault, is_busy(sequence)));
        }
        let mut factory = small();
        (factory.0.refused_retry_ms, factory.0.refused_retry_max_ms) = (100, 100);
        append_all(&stage, &others(30)).await;
        let relay = stage.start(&factory);
        stage.watcher.until_seen(&stage.orders, BUSY, BACKLOG).await;
        stage.until_published().await;
        stage.watcher.assert_in_sequence();
        assert_eq!(stage.blocked().await, 0, "{fault:?}");
        relay.stop().await;
    }
}
