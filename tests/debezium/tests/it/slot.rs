//! A slot that holds no log while its outbox is idle.

use std::cell::RefCell;

use debezium::DebeziumServer;
use testkit::wait::eventually;

use crate::outboxes::{Event, Message, Stage, TIMEOUT, insert};

#[tokio::test]
#[ignore = "needs Debezium Server and Kafka: make test-debezium"]
async fn an_outbox_that_is_idle_does_not_hold_the_log() {
    let stage = Stage::set().await;
    let mut debezium = stage.start_debezium();
    append(&stage, b"before").await;
    until_confirmed(&stage, &mut debezium, "the message is confirmed").await;
    // Work that is not the outbox's.
    sqlx::query("CREATE TABLE other AS SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) AS n")
        .execute(stage.pool())
        .await
        .unwrap();
    assert!(stage.unconfirmed_bytes().await > 10_000_000);
    until_confirmed(&stage, &mut debezium, "what the others wrote is confirmed").await;

    // The next one goes on behind it, with what commits while there is none.
    debezium.kill().await.unwrap();
    append(&stage, b"after").await;
    let mut debezium = stage.start_debezium();
    let debezium = RefCell::new(&mut debezium);
    eventually("the message of the pause is published", TIMEOUT, async || {
        debezium.borrow_mut().check().map_err(|error| error.to_string())?;
        let records = stage.topic(&stage.events).records(&[].into()).unwrap();
        let is_there = records.iter().any(|record| record.key.as_deref() == Some(b"after"));
        if is_there { Ok(()) } else { Err(format!("{records:?}")) }
    })
    .await;
}

async fn append(stage: &Stage, key: &[u8]) {
    let event = Event { sequence: 1, previous_id: None, time: "2026-11-30T12:00:00Z", complete: false };
    let message = Message {
        topic: &stage.events,
        key: Some(key),
        value: Some(b"value"),
        event: Some(event),
        headers: Vec::new(),
    };
    insert(&mut stage.pool().acquire().await.unwrap(), &message).await;
}

/// Waits until all but a megabyte of the log is confirmed: what PostgreSQL writes by itself.
async fn until_confirmed(stage: &Stage, debezium: &mut DebeziumServer, what: &str) {
    let debezium = RefCell::new(debezium);
    eventually(what, TIMEOUT, async || {
        debezium.borrow_mut().check().map_err(|error| (0, error.to_string()))?;
        match stage.unconfirmed_bytes().await {
            ..1_000_000 => Ok(()),
            bytes => Err((bytes, "bytes".to_owned())),
        }
    })
    .await;
}
