//! A stored event that only a newer release knows: during a rolling update an older replica meets it.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use contracts::clock;
use order::domain::OrderId;
use serde_json::{Value, json};

use crate::events::stock_reserved;
use crate::stack::{Answered, Stack};

impl Stack {
    /// Stores an event as a newer release would: the last of the order's stream, later than all others.
    async fn store_newer(&self, order_id: OrderId, kind: &str, schema_version: i32) -> DateTime<Utc> {
        let occurred_at = clock::now() + TimeDelta::hours(1);
        let stored = sqlx::query(
            "WITH head AS (
                 UPDATE orders SET version = version + 1, updated_at = $4 WHERE order_id = $1 RETURNING version
             ), view AS (
                 UPDATE order_views SET version = version + 1, updated_at = $4 WHERE order_id = $1
             )
             INSERT INTO order_events (order_id, version, type, schema_version, data, metadata, occurred_at)
             SELECT $1, head.version, $2, $3, '{\"to\": \"somewhere\"}', '{}', $4 FROM head",
        )
        .bind(order_id.0)
        .bind(kind)
        .bind(schema_version)
        .bind(occurred_at)
        .execute(self.pool())
        .await
        .unwrap();
        assert_eq!(stored.rows_affected(), 1);
        occurred_at
    }

    async fn as_of(&self, order_id: OrderId, at: DateTime<Utc>) -> Answered {
        let at = at.to_rfc3339_opts(SecondsFormat::Micros, true);
        self.replica.get(&format!("/orders/{order_id}?as_of={at}")).await
    }

    async fn stream(&self, order_id: OrderId, last_event_id: i64) -> Answered {
        let request = Request::get(format!("/orders/{order_id}/events"))
            .header("last-event-id", last_event_id.to_string())
            .body(Body::empty())
            .unwrap();
        self.replica.ask(request).await
    }
}

fn stages(history: &Value) -> Vec<&str> {
    history["states"].as_array().unwrap().iter().map(|state| state["stage"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_history_names_the_events_that_only_a_newer_release_knows() {
    let stack = Stack::start().await;
    for (kind, schema_version) in [("OrderRedirected", 1), ("OrderConfirmed", 2)] {
        let order_id = stack.place().await;
        let before = stack.replica.get(&format!("/orders/{order_id}/history")).await.json();
        assert!(before.get("unfolded").is_none(), "{before}");
        let at = stack.store_newer(order_id, kind, schema_version).await;
        stack.apply(vec![stock_reserved(order_id)]).await;

        let history = stack.replica.get(&format!("/orders/{order_id}/history")).await;
        assert_eq!(history.status, StatusCode::OK, "{history:?}");
        let history = history.json();
        assert_eq!(stages(&history), ["placed"], "nothing is told that this release can't know");
        let at = serde_json::to_value(at).unwrap();
        let expected = json!([
            { "version": 3, "type": kind, "occurred_at": at, "known": false },
            { "version": 4, "type": "StockReservationRecorded", "occurred_at": at, "known": true },
        ]);
        assert_eq!(history["unfolded"], expected);
    }
}

#[tokio::test]
async fn the_past_is_told_up_to_what_a_newer_release_has_written() {
    let stack = Stack::start().await;
    let order_id = stack.place().await;
    let at = stack.store_newer(order_id, "OrderRedirected", 1).await;
    let before = stack.as_of(order_id, at - TimeDelta::microseconds(1)).await;
    assert_eq!((before.status, before.json()["stage"].as_str()), (StatusCode::OK, Some("placed")));
    let then = stack.as_of(order_id, at).await;
    assert_eq!(
        (then.status, then.problem().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "written-by-a-newer-release")
    );
    assert!(then.header("retry-after").is_some());
    // The present is told by the read model.
    let now = stack.replica.get(&format!("/orders/{order_id}")).await;
    assert_eq!((now.status, now.json()["stage"].as_str()), (StatusCode::OK, Some("placed")));
}

#[tokio::test]
async fn a_stream_ends_where_a_newer_release_has_to_go_on() {
    let stack = Stack::start().await;
    let order_id = stack.place().await;
    stack.store_newer(order_id, "OrderRedirected", 1).await;
    let sent = stack.stream(order_id, 0).await;
    assert_eq!(sent.status, StatusCode::OK);
    assert!(sent.text.contains("event: placed") || sent.text.contains("event:placed"), "{sent:?}");
    let resumed = stack.stream(order_id, 1).await;
    assert_eq!(
        (resumed.status, resumed.problem().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "written-by-a-newer-release")
    );
}
