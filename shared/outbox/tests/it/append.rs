//! What appending promises: rows complete, bytes unchanged, ids in order, nothing without the caller's commit.

use std::sync::Arc;

use contracts::envelope::CONTENT_TYPE;
use contracts::stock::StockReplenished;
use contracts::{AnyEvent, Cause, Codec, Event as _, Topics, TraceContext, clock};
use events::{Publication, PublishError, Publisher};
use outbox::AppendError;
use sqlx::Row as _;

use crate::relays::Poll;
use crate::stage::{Aggregate, Stage, append, message, publish};

fn replenished(sku: &str) -> contracts::AnyEvent {
    StockReplenished {
        event_id: clock::new_id(),
        occurred_at: clock::now(),
        sku: sku.to_owned(),
        sequence: 1,
        quantity: 5,
        available: 5,
        threshold: 1,
    }
    .into_any()
}

/// What encodes for the stage's topics.
fn publisher(stage: &Stage) -> Publisher {
    Publisher::new(Arc::clone(&stage.codec), "test", 1_000_000)
}

fn cause() -> Cause {
    Cause {
        correlation_id: clock::new_id(),
        causation_id: Some(clock::new_id()),
        user_id: Some("müller".to_owned()),
        trace: TraceContext {
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
            tracestate: Some("vendor=value".to_owned()),
        },
    }
}

fn publication(event: &AnyEvent, cause: &Cause) -> Publication {
    Publication { event: event.clone(), cause: cause.clone(), last_message_id: None }
}

pub(crate) async fn what_is_appended_is_published_byte_by_byte_with_all_headers() {
    let stage = Stage::set().await;
    let relay = stage.start(&Poll::default());
    let (event, cause) = (replenished("ART 7/ä"), cause());
    let encoded = publisher(&stage).encode(&publication(&event, &cause)).unwrap();
    let envelope = contracts::Envelope { subject: "raw".to_owned(), ..encoded.envelope().clone() };
    let bytes = (0..=255).cycle().take(70_000).collect();
    let all_bytes = stage.outbox.message(stage.stock.clone(), envelope, bytes, None).unwrap();
    let mut transaction = stage.pool().begin().await.unwrap();
    append(&mut transaction, &stage.outbox, vec![encoded.clone(), all_bytes.clone()]).await.unwrap();
    transaction.commit().await.unwrap();
    stage.outbox.wake();
    stage.watcher.until_seen(&stage.stock, "ART 7/ä", 1).await;
    stage.watcher.until_seen(&stage.stock, "raw", 1).await;
    for (key, message) in [("ART 7/ä", &encoded), ("raw", &all_bytes)] {
        let record = stage.watcher.records(&stage.stock, key).remove(0);
        assert_eq!(record.value.as_deref(), Some(message.value()));
        assert_eq!(record.headers, message.envelope().to_headers(CONTENT_TYPE));
    }
    let record = stage.watcher.records(&stage.stock, "ART 7/ä").remove(0);
    assert_eq!(stage.codec.decode(&stage.stock, record.value.as_deref()).await.unwrap(), event);
    relay.stop().await;
}

#[tokio::test]
async fn an_event_larger_than_the_limit_is_refused_before_anything_is_written() {
    let publisher = Publisher::new(Codec::offline(Topics::new("test")), "test", 1_000);
    let cause = cause();
    assert!(publisher.encode(&publication(&replenished("a"), &cause)).is_ok());
    let refused = publisher.encode(&publication(&replenished(&"a".repeat(900)), &cause)).unwrap_err();
    let PublishError::Append(AppendError::TooLarge { event_type, bytes, limit, causation_id, .. }) = refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(
        (event_type.as_str(), limit, causation_id),
        ("tidings.stock.StockReplenished", 1_000, cause.causation_id)
    );
    assert!(bytes > 1_000, "{bytes}");
}

#[tokio::test]
async fn ids_rise_in_the_order_of_the_messages() {
    let stage = Stage::set().await;
    let messages: Vec<_> = (0..500).rev().map(|n| message(&stage.orders, &format!("k{n}"), 1)).collect();
    let mut conn = stage.pool().acquire().await.unwrap();
    append(&mut conn, &stage.outbox, messages.clone()).await.unwrap();
    let keys: Vec<String> = sqlx::query_scalar("SELECT subject FROM outbox.messages ORDER BY id")
        .fetch_all(stage.pool())
        .await
        .unwrap();
    assert_eq!(keys, messages.iter().map(|message| message.envelope().subject.clone()).collect::<Vec<_>>());
}

#[tokio::test]
async fn each_message_names_the_one_before_it_of_its_key() {
    let stage = Stage::set().await;
    for _ in 0..2 {
        stage.commit(&stage.orders, &["a", "b"]).await;
    }
    let mut conn = stage.pool().acquire().await.unwrap();
    let both = (1..=2).map(|sequence| message(&stage.orders, "c", sequence)).collect();
    append(&mut conn, &stage.outbox, both).await.unwrap();
    let links: Vec<(i64, Option<i64>, String)> =
        sqlx::query_as("SELECT id, previous_id, subject FROM outbox.messages ORDER BY id")
            .fetch_all(stage.pool())
            .await
            .unwrap();
    let links: Vec<_> = links.iter().map(|(id, previous, key)| (*id, *previous, key.as_str())).collect();
    let expected = [
        (1, None, "a"),
        (2, None, "b"),
        (3, Some(1), "a"),
        (4, Some(2), "b"),
        (5, None, "c"),
        (6, Some(5), "c"),
    ];
    assert_eq!(links, expected);
}

#[tokio::test]
async fn one_key_on_two_topics_has_two_sequences() {
    let stage = Stage::set().await;
    let mut conn = stage.pool().acquire().await.unwrap();
    let messages = vec![message(&stage.orders, "a", 1), message(&stage.stock, "a", 1)];
    let numbered = stage.outbox.number(&mut conn, messages).await.unwrap();
    stage.outbox.append(&mut conn, &numbered).await.unwrap();
    assert_eq!(numbered.last_message_id("orders", "a"), Some(1));
    assert_eq!(numbered.last_message_id("stock", "a"), Some(2));
    assert_eq!(numbered.last_message_id("stock", "b"), None);
}

#[tokio::test]
async fn a_sequence_is_given_once_even_without_the_lock() {
    let stage = Stage::set().await;
    stage.commit(&stage.orders, &["a"]).await;
    let loaded = || Aggregate { key: "a".to_owned(), last_sequence: 1, last_message_id: Some(1) };
    let mut first = stage.pool().begin().await.unwrap();
    publish(&mut first, &stage.outbox, &stage.orders, vec![loaded()]).await.unwrap();
    let second = async {
        let mut second = stage.pool().begin().await.unwrap();
        publish(&mut second, &stage.outbox, &stage.orders, vec![loaded()]).await
    };
    let (refused, ()) = tokio::join!(second, async { first.commit().await.unwrap() });
    assert!(matches!(refused, Err(AppendError::Stale { expected: 1, stored: 0 })), "{refused:?}");
}

#[tokio::test]
async fn a_link_that_was_forgotten_is_refused() {
    let stage = Stage::set().await;
    let mut conn = stage.pool().acquire().await.unwrap();
    let refused = append(&mut conn, &stage.outbox, vec![message(&stage.orders, "a", 2)]).await;
    assert!(matches!(refused, Err(AppendError::Database(_))), "{refused:?}");
}

#[tokio::test]
async fn messages_are_not_deleted() {
    let stage = Stage::set().await;
    stage.commit(&stage.orders, &["a"]).await;
    for statement in
        ["DELETE FROM outbox.messages", "TRUNCATE outbox.messages", "DELETE FROM outbox.messages_0"]
    {
        let refused = sqlx::query(statement).execute(stage.pool()).await;
        assert!(refused.is_err_and(|error| error.to_string().contains("are not deleted")), "{statement}");
    }
}

#[tokio::test]
async fn a_row_keeps_everything_that_a_relay_needs() {
    let stage = Stage::set().await;
    let (event, cause) = (replenished("a"), cause());
    let encoded = publisher(&stage).encode(&publication(&event, &cause)).unwrap();
    let mut conn = stage.pool().acquire().await.unwrap();
    append(&mut conn, &stage.outbox, vec![encoded.clone()]).await.unwrap();
    let row = sqlx::query("SELECT * FROM outbox.messages").fetch_one(stage.pool()).await.unwrap();
    assert_eq!(row.get::<String, _>("topic"), stage.stock);
    assert_eq!(row.get::<Vec<u8>, _>("key"), b"a");
    assert_eq!(row.get::<String, _>("subject"), "a");
    assert_eq!(row.get::<i64, _>("sequence"), 1);
    assert_eq!(row.get::<uuid::Uuid, _>("event_id"), event.event_id());
    assert_eq!(row.get::<chrono::DateTime<chrono::Utc>, _>("event_time"), event.occurred_at());
    assert_eq!(row.get::<Option<uuid::Uuid>, _>("causation_id"), cause.causation_id);
    assert_eq!(row.get::<Option<String>, _>("user_id"), cause.user_id);
    assert_eq!(row.get::<Option<String>, _>("traceparent"), cause.trace.traceparent);
    assert_eq!(row.get::<Option<chrono::DateTime<chrono::Utc>>, _>("finished_at"), None);
}
