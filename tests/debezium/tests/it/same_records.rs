//! Debezium Server and the polling relay make the same records of the same table.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use debezium::DebeziumServer;
use debezium::topic::{Ends, Read};
use tokio::time::Instant;

use crate::outboxes::{Event, Message, Stage, TIMEOUT, insert};

/// A key that is no text.
const BINARY: &[u8] = &[0xff, 0x00, 0x80, b'k'];
/// The pause between two looks at the topic.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[tokio::test]
#[ignore = "needs Debezium Server and Kafka: make test-debezium"]
async fn debezium_gives_the_same_keys_bytes_and_headers_as_the_polling_relay() {
    let stage = Stage::set().await;
    let expected = append(&stage).await;
    stage.poll().await;
    let (polled, polled_until) = read(&stage, &Ends::new());
    let dead_letters = stage.topic(&stage.dead_letters).records(&Ends::new()).unwrap();
    assert_eq!((polled.len(), dead_letters.len()), (expected, 1));

    let streamed = stream(&stage, &polled_until, expected).await;
    assert_eq!(by_key(&streamed), by_key(&polled));
    // Of no key: the partition is anyone's choice.
    assert_eq!(keyless(&streamed), keyless(&polled));
    assert_eq!(stage.topic(&stage.dead_letters).records(&Ends::new()).unwrap().len(), 1);
}

#[tokio::test]
#[ignore = "needs Debezium Server and Kafka: make test-debezium"]
async fn debezium_that_is_killed_while_it_publishes_loses_no_record() {
    const ORDERS: usize = 20_000;
    let stage = Stage::set().await;
    append_orders(&stage, ORDERS).await;
    let mut debezium = stage.start_debezium();
    until_published(&stage, &mut debezium, &Ends::new(), 1).await;
    debezium.kill().await.unwrap();
    let mut debezium = stage.start_debezium();
    until_published(&stage, &mut debezium, &Ends::new(), ORDERS).await;
    debezium.kill().await.unwrap();
}

/// Messages of every kind; how many of them are for the topic of events and committed.
async fn append(stage: &Stage) -> usize {
    let mut early = stage.pool().begin().await.unwrap();
    let mut late = stage.pool().begin().await.unwrap();
    let mut gone = stage.pool().begin().await.unwrap();
    let large: Vec<u8> = (0..900_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let all_bytes: Vec<u8> = (0..=255).collect();
    let message = |key, value, sequence, previous_id, time, complete| Message {
        topic: &stage.events,
        key: Some(key),
        value,
        event: Some(Event { sequence, previous_id, time, complete }),
        headers: Vec::new(),
    };
    // The transaction that draws the lower ids commits last.
    let first = message(&b"a"[..], Some(&b"first"[..]), 1, None, "2026-11-30T12:00:00.123456Z", true);
    let first = insert(&mut late, &first).await;
    let binary = message(BINARY, Some(&all_bytes), 1, None, "2026-11-30T12:00:00.5+01", false);
    insert(&mut early, &binary).await;
    let lost = message(b"gone", Some(b"never committed"), 1, None, "2026-11-30T12:00:00Z", false);
    insert(&mut gone, &lost).await;
    let second = message(b"a", Some(&[]), 2, Some(first), "2026-11-30T12:00:00Z", false);
    let second = insert(&mut late, &second).await;
    let deletion = message(b"a", None, 3, Some(second), "0999-01-01T00:00:00.000001Z", true);
    insert(&mut late, &deletion).await;
    let big = message(b"large", Some(&large), 1, None, "2026-11-30T12:00:00.000010Z", true);
    insert(&mut early, &big).await;
    // What is no event has no headers, and here no key.
    let bare =
        Message { topic: &stage.events, key: None, value: Some(b"bare"), event: None, headers: Vec::new() };
    insert(&mut early, &bare).await;
    let dead = Message {
        topic: &stage.dead_letters,
        headers: vec![("reason", &b"no"[..]), ("reason", &[0xff][..])],
        ..bare
    };
    insert(&mut early, &dead).await;
    early.commit().await.unwrap();
    gone.rollback().await.unwrap();
    late.commit().await.unwrap();
    6
}

/// So many messages, each of a key of its own.
async fn append_orders(stage: &Stage, orders: usize) {
    sqlx::query(
        "INSERT INTO outbox.messages (id, topic, key, value, sequence, event_id, event_type, source, subject,
             event_time, correlation_id)
         SELECT nextval('outbox.message_ids'), $1, convert_to('order-' || n, 'UTF8'), convert_to('value', 'UTF8'), 1,
             gen_random_uuid(), 'tidings.order.OrderPlaced', 'order', 'order-' || n, now(), gen_random_uuid()
         FROM generate_series(1, $2) AS n",
    )
    .bind(&stage.events)
    .bind(i64::try_from(orders).unwrap())
    .execute(stage.pool())
    .await
    .unwrap();
}

/// The records that Debezium Server makes of the same messages.
async fn stream(stage: &Stage, start: &Ends, expected: usize) -> Vec<Read> {
    let mut debezium = stage.start_debezium();
    until_published(stage, &mut debezium, start, expected).await;
    debezium.kill().await.unwrap();
    read(stage, start).0
}

/// Waits until so many different records are on the topic.
async fn until_published(stage: &Stage, debezium: &mut DebeziumServer, start: &Ends, expected: usize) {
    let topic = stage.topic(&stage.events);
    let before: i64 = start.values().sum();
    let deadline = Instant::now() + TIMEOUT;
    loop {
        debezium.check().unwrap();
        let records = topic.ends().unwrap().values().sum::<i64>() - before;
        // Those that are repeated count once.
        if usize::try_from(records).unwrap() >= expected && read(stage, start).0.len() >= expected {
            return;
        }
        if Instant::now() >= deadline {
            panic!("{records} of {expected} records; Debezium's log:\n{}", debezium.end_of_log());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The records from `start` on, each where it stands first, and where the topic ends.
fn read(stage: &Stage, start: &Ends) -> (Vec<Read>, Ends) {
    let topic = stage.topic(&stage.events);
    let mut records = topic.records(start).unwrap();
    let mut seen = BTreeSet::new();
    records.retain(|record| seen.insert(record.clone()));
    (records, topic.ends().unwrap())
}

/// The records of each key in their order.
fn by_key(records: &[Read]) -> BTreeMap<Vec<u8>, Vec<Read>> {
    let mut by_key: BTreeMap<Vec<u8>, Vec<Read>> = BTreeMap::new();
    for record in records {
        if let Some(key) = &record.key {
            by_key.entry(key.clone()).or_default().push(record.clone());
        }
    }
    by_key
}

fn keyless(records: &[Read]) -> BTreeSet<Read> {
    let keyless = records.iter().filter(|record| record.key.is_none());
    keyless.map(|record| Read { partition: 0, ..record.clone() }).collect()
}
