//! What appending promises: rows complete, bytes unchanged, ids in order, nothing without the caller's commit.

use contracts::stock::StockReplenished;
use contracts::{Cause, Codec, Event as _, Topics, TraceContext, ambient};
use outbox::{AppendError, Outbox};
use sqlx::Row as _;

use crate::relays::{Poll, RelayFactory};
use crate::stage::{Stage, message};

fn replenished(sku: &str) -> contracts::AnyEvent {
    StockReplenished {
        event_id: ambient::new_id(),
        occurred_at: ambient::now(),
        sku: sku.to_owned(),
        sequence: 1,
        quantity: 5,
        available: 5,
        threshold: 1,
    }
    .into_any()
}

fn cause() -> Cause {
    Cause {
        correlation_id: ambient::new_id(),
        causation_id: Some(ambient::new_id()),
        user_id: Some("müller".to_owned()),
        trace: TraceContext {
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
            tracestate: Some("vendor=value".to_owned()),
        },
    }
}

#[tokio::test]
async fn what_is_appended_is_published_byte_by_byte_with_all_headers() {
    appended_bytes_are_published(&Poll::default()).await;
}

/// Part of every relay's suite.
async fn appended_bytes_are_published(factory: &dyn RelayFactory) {
    let stage = Stage::set().await;
    let relay = stage.start(factory);
    let (event, cause) = (replenished("ART 7/ä"), cause());
    let sealed = stage.outbox.seal(&event, &cause).unwrap();
    let all_bytes = outbox::Message::from_parts(
        stage.stock.clone(),
        contracts::Envelope { subject: "raw".to_owned(), ..sealed.envelope().clone() },
        (0..=255).cycle().take(70_000).collect(),
    );
    let mut transaction = stage.pool().begin().await.unwrap();
    stage.outbox.append(&mut transaction, &[sealed.clone(), all_bytes.clone()]).await.unwrap();
    transaction.commit().await.unwrap();
    stage.outbox.wake();
    stage.watcher.until_seen(&stage.stock, "ART 7/ä", 1).await;
    stage.watcher.until_seen(&stage.stock, "raw", 1).await;
    for (key, message) in [("ART 7/ä", &sealed), ("raw", &all_bytes)] {
        let record = stage.watcher.records(&stage.stock, key).remove(0);
        assert_eq!(record.value.as_deref(), Some(message.value()));
        assert_eq!(record.headers, message.envelope().to_headers());
    }
    let record = stage.watcher.records(&stage.stock, "ART 7/ä").remove(0);
    assert_eq!(stage.codec.decode(&stage.stock, record.value.as_deref()).await.unwrap(), event);
    relay.stop().await;
}

#[tokio::test]
async fn an_event_larger_than_the_limit_is_refused_before_anything_is_written() {
    let outbox = Outbox::new(Codec::offline(Topics::new("test")), "test", 1_000);
    let cause = cause();
    assert!(outbox.seal(&replenished("a"), &cause).is_ok());
    let refused = outbox.seal(&replenished(&"a".repeat(900)), &cause).unwrap_err();
    let AppendError::TooLarge { event_type, bytes, limit, causation_id, .. } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(
        (event_type, limit, causation_id),
        ("tidings.stock.StockReplenished", 1_000, cause.causation_id)
    );
    assert!(bytes > 1_000, "{bytes}");
}

#[tokio::test]
async fn ids_rise_in_the_order_of_the_messages() {
    let stage = Stage::set().await;
    let messages: Vec<_> = (0..500).rev().map(|n| message(&stage.orders, &format!("k{n}"), 1)).collect();
    let mut conn = stage.pool().acquire().await.unwrap();
    stage.outbox.append(&mut conn, &messages).await.unwrap();
    let keys: Vec<String> = sqlx::query_scalar("SELECT key FROM outbox.messages ORDER BY id")
        .fetch_all(stage.pool())
        .await
        .unwrap();
    assert_eq!(keys, messages.iter().map(|message| message.envelope().subject.clone()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_sequence_given_twice_is_refused() {
    let stage = Stage::set().await;
    let mut conn = stage.pool().acquire().await.unwrap();
    stage.outbox.append(&mut conn, &[message(&stage.orders, "a", 1)]).await.unwrap();
    let again = stage.outbox.append(&mut conn, &[message(&stage.orders, "a", 1)]).await;
    assert!(matches!(again, Err(AppendError::Database(_))), "{again:?}");
}

#[tokio::test]
async fn a_row_keeps_everything_that_a_relay_needs() {
    let stage = Stage::set().await;
    let (event, cause) = (replenished("a"), cause());
    let sealed = stage.outbox.seal(&event, &cause).unwrap();
    let mut conn = stage.pool().acquire().await.unwrap();
    stage.outbox.append(&mut conn, std::slice::from_ref(&sealed)).await.unwrap();
    let row = sqlx::query("SELECT * FROM outbox.messages").fetch_one(stage.pool()).await.unwrap();
    assert_eq!(row.get::<String, _>("topic"), stage.stock);
    assert_eq!(row.get::<String, _>("key"), "a");
    assert_eq!(row.get::<i64, _>("sequence"), 1);
    assert_eq!(row.get::<uuid::Uuid, _>("event_id"), event.event_id());
    assert_eq!(row.get::<chrono::DateTime<chrono::Utc>, _>("occurred_at"), event.occurred_at());
    assert_eq!(row.get::<Option<uuid::Uuid>, _>("causation_id"), cause.causation_id);
    assert_eq!(row.get::<Option<String>, _>("user_id"), cause.user_id);
    assert_eq!(row.get::<Option<String>, _>("traceparent"), cause.trace.traceparent);
    assert_eq!(row.get::<Option<chrono::DateTime<chrono::Utc>>, _>("finished_at"), None);
}
