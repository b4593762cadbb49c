//! `Prefer: wait` and server-sent events: both read the database, so that any replica answers.

use std::time::{Duration, Instant};

use axum::body::{Body, BodyDataStream};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use futures::StreamExt;
use order::config::Config;
use order::domain::OrderId;
use service::config::HttpConfig;
use testkit::wait::eventually;

use crate::events::{payment_completed, stock_rejected, stock_reserved};
use crate::stack::{Replica, Settings, Stack, WAIT_TIMEOUT, post_order, valid_order};

/// The order placed under this key, once it is there.
async fn order_of(stack: &Stack, key: &str) -> OrderId {
    eventually("the order is placed", WAIT_TIMEOUT, || async {
        sqlx::query_scalar("SELECT order_id FROM idempotency_keys WHERE key = $1")
            .bind(key)
            .fetch_optional(stack.pool())
            .await
            .unwrap()
            .map(OrderId)
            .ok_or("not yet")
    })
    .await
}

#[tokio::test]
async fn an_answer_is_held_until_the_order_has_ended_on_whichever_replica_it_ends() {
    let stack = Stack::start().await;
    let waiting = stack.another_replica();
    let request = waiting.ask(post_order("key", &valid_order(), &[("prefer", "wait=20")]));
    let end = async { stack.apply(vec![payment_completed(order_of(&stack, "key").await)]).await };
    let (answered, ()) = tokio::join!(request, end);
    assert_eq!(answered.status, StatusCode::ACCEPTED);
    assert_eq!(answered.header("preference-applied"), Some("wait=20"));
    assert_eq!(answered.header("etag"), Some("\"3\""));
    assert_eq!(answered.json()["status"], "confirmed");
}

#[tokio::test]
async fn an_answer_is_held_no_longer_than_asked() {
    let stack = Stack::start().await;
    let begun = Instant::now();
    let answered = stack.replica.ask(post_order("key", &valid_order(), &[("prefer", "wait=1")])).await;
    assert!(begun.elapsed().as_secs_f64() >= 1.0);
    assert_eq!(answered.json()["status"], "placed");
    assert_eq!(answered.header("preference-applied"), Some("wait=1"));
}

#[tokio::test]
async fn a_repeated_request_waits_as_well() {
    let stack = Stack::start().await;
    let order_id = stack.replica.post_order("key", &valid_order()).await.order_id();
    stack.apply(vec![payment_completed(order_id)]).await;
    let answered = stack.replica.ask(post_order("key", &valid_order(), &[("prefer", "wait=20")])).await;
    assert_eq!(answered.header("idempotent-replayed"), Some("true"));
    assert_eq!(answered.json()["status"], "confirmed");
}

#[tokio::test]
async fn more_streams_than_allowed_are_sent_away_until_one_ends() {
    let order = Config { max_streams: 1, ..Config::default() };
    let stack = Stack::start_with(&Settings { order, ..Settings::default() }).await;
    let order_id = stack.place().await;
    let events = || Request::get(format!("/orders/{order_id}/events")).body(Body::empty()).unwrap();
    let stream = stack.replica.send(events()).await;
    let rejected = stack.replica.ask(events()).await;
    assert_eq!(
        (rejected.status, rejected.problem().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "too-many-waiters")
    );
    assert!(rejected.header("retry-after").is_some());
    drop(stream);
    assert_eq!(stack.replica.send(events()).await.status(), StatusCode::OK, "a place that was left is free");
}

#[tokio::test]
async fn a_request_without_a_place_to_wait_places_its_order_and_does_not_wait() {
    let order = Config { max_waiters: 1, ..Config::default() };
    let stack = Stack::start_with(&Settings { order, ..Settings::default() }).await;
    let first = stack.replica.ask(post_order("first", &valid_order(), &[("prefer", "wait=20")]));
    let second = async {
        let first = order_of(&stack, "first").await;
        let answered =
            stack.replica.ask(post_order("second", &valid_order(), &[("prefer", "wait=20")])).await;
        assert_eq!((answered.status, answered.header("preference-applied")), (StatusCode::ACCEPTED, None));
        assert_eq!(answered.json()["status"], "placed");
        stack.apply(vec![payment_completed(first)]).await;
    };
    let (first, ()) = tokio::join!(first, second);
    assert_eq!(first.json()["status"], "confirmed", "the first one has waited");
    assert_eq!(stack.check_invariants().await, 2);
}

/// The order of another customer.
fn order_of_another() -> serde_json::Value {
    let mut order = valid_order();
    order["customer_id"] = "18102".into();
    order
}

#[tokio::test]
async fn one_customer_takes_no_more_than_a_tenth_of_the_places_to_wait() {
    let order = Config { max_waiters: 20, ..Config::default() };
    let stack = Stack::start_with(&Settings { order, ..Settings::default() }).await;
    let wait =
        |key: &'static str, order| stack.replica.ask(post_order(key, &order, &[("prefer", "wait=20")]));
    let one = wait("one", valid_order());
    let two = wait("two", valid_order());
    let others = async {
        let mine = [order_of(&stack, "one").await, order_of(&stack, "two").await];
        let third = wait("three", valid_order()).await;
        assert_eq!((third.status, third.header("preference-applied")), (StatusCode::ACCEPTED, None));
        let theirs = wait("theirs", order_of_another());
        let end = async { stack.apply(vec![payment_completed(order_of(&stack, "theirs").await)]).await };
        let (theirs, ()) = tokio::join!(theirs, end);
        assert_eq!(theirs.json()["status"], "confirmed");
        stack.apply(mine.map(payment_completed).to_vec()).await;
    };
    let (one, two, ()) = tokio::join!(one, two, others);
    assert_eq!(
        (one.json()["status"].as_str(), two.json()["status"].as_str()),
        (Some("confirmed"), Some("confirmed"))
    );
}

#[tokio::test]
async fn one_customer_takes_no_more_than_a_tenth_of_the_streams() {
    let order = Config { max_streams: 20, ..Config::default() };
    let stack = Stack::start_with(&Settings { order, ..Settings::default() }).await;
    let mine = stack.place().await;
    let theirs = stack.replica.post_order("theirs", &order_of_another()).await.order_id();
    let streams = [follow(&stack.replica, mine, 0).await, follow(&stack.replica, mine, 0).await];
    assert_eq!(open(&stack.replica, mine, 0).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(open(&stack.replica, theirs, 0).await.status(), StatusCode::OK);
    drop(streams);
    assert_eq!(open(&stack.replica, mine, 0).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn whoever_waits_takes_no_place_from_requests_in_flight() {
    let http = HttpConfig { max_in_flight: 1, ..HttpConfig::default() };
    let stack = Stack::start_with(&Settings { http, ..Settings::default() }).await;
    let first = stack.replica.ask(post_order("first", &valid_order(), &[("prefer", "wait=20")]));
    let second = async {
        let first = order_of(&stack, "first").await;
        eventually("the place in flight is given back", WAIT_TIMEOUT, || async {
            let answered = stack.replica.get("/orders").await;
            if answered.status == StatusCode::OK { Ok(()) } else { Err(answered.status) }
        })
        .await;
        stack.apply(vec![payment_completed(first)]).await;
    };
    let (answered, ()) = tokio::join!(first, second);
    assert_eq!(answered.json()["status"], "confirmed");
}

#[tokio::test]
async fn whoever_waits_is_let_go_when_the_service_stops() {
    let stack = Stack::start().await;
    let request = stack.replica.ask(post_order("key", &valid_order(), &[("prefer", "wait=30")]));
    let stop = async {
        let order_id = order_of(&stack, "key").await;
        let mut stream = follow(&stack.replica, order_id, 0).await;
        stream.next().await;
        stack.replica.shutdown.cancel();
        assert_eq!(stream.next().await, None);
    };
    let begun = Instant::now();
    let (answered, ()) = tokio::join!(request, stop);
    assert_eq!(answered.json()["status"], "placed");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

/// One server-sent event: id, name, and its data's stage.
type Sent = (i64, String, String);

/// An event stream, read one event at a time; comments are skipped.
struct Events {
    body: BodyDataStream,
    text: String,
}

async fn open(replica: &Replica, order_id: OrderId, last_event_id: i64) -> Response {
    let request = Request::get(format!("/orders/{order_id}/events"))
        .header("last-event-id", last_event_id.to_string())
        .body(Body::empty())
        .unwrap();
    replica.send(request).await
}

async fn follow(replica: &Replica, order_id: OrderId, last_event_id: i64) -> Events {
    let response = open(replica, order_id, last_event_id).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    Events { body: response.into_body().into_data_stream(), text: String::new() }
}

impl Events {
    /// The next event; none when the stream ends.
    async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    block
                        .lines()
                        .find_map(|line| line.strip_prefix(name))
                        .map(|value| value.trim().to_owned())
                };
                let Some(id) = field("id:") else { continue };
                let data: serde_json::Value = serde_json::from_str(&field("data:").unwrap()).unwrap();
                assert_eq!(data["version"].to_string(), id);
                let stage = data["stage"].as_str().unwrap().to_owned();
                return Some((id.parse().unwrap(), field("event:").unwrap(), stage));
            }
            let chunk =
                tokio::time::timeout(WAIT_TIMEOUT, self.body.next()).await.expect("a silent stream")?;
            self.text += std::str::from_utf8(&chunk.unwrap()).unwrap();
        }
    }

    async fn rest(mut self) -> Vec<(i64, String)> {
        let mut rest = Vec::new();
        while let Some((id, event, stage)) = self.next().await {
            assert_eq!(event, stage);
            rest.push((id, event));
        }
        rest
    }
}

fn sent(events: &[(i64, &str)]) -> Vec<(i64, String)> {
    events.iter().map(|(id, stage)| (*id, (*stage).to_owned())).collect()
}

#[tokio::test]
async fn a_stream_tells_every_state_as_it_comes_and_ends_after_the_end() {
    let stack = Stack::start().await;
    let order_id = stack.place().await;
    let elsewhere = stack.another_replica();
    let mut stream = follow(&elsewhere, order_id, 0).await;
    assert_eq!(stream.next().await, Some((1, "placed".to_owned(), "placed".to_owned())));
    stack.apply(vec![stock_reserved(order_id)]).await;
    assert_eq!(stream.next().await.unwrap().0, 3);
    stack.apply(vec![payment_completed(order_id)]).await;
    assert_eq!(stream.rest().await, sent(&[(4, "confirmed")]));
}

#[tokio::test]
async fn a_stream_is_resumed_where_it_broke() {
    let stack = Stack::start().await;
    let order_id = stack.place().await;
    stack.apply(vec![stock_reserved(order_id)]).await;
    stack.apply(vec![stock_rejected(order_id)]).await;
    let all = [(1, "placed"), (3, "stock_reserved"), (4, "cancelled")];
    for (last_event_id, from) in [(0, 0), (1, 1), (2, 1), (3, 2)] {
        let stream = follow(&stack.replica, order_id, last_event_id).await;
        assert_eq!(stream.rest().await, sent(&all[from..]), "after {last_event_id}");
    }
    assert_eq!(
        open(&stack.replica, order_id, 4).await.status(),
        StatusCode::NO_CONTENT,
        "nothing will follow"
    );
}

#[tokio::test]
async fn a_stream_does_not_last_for_ever() {
    let order = Config { stream_lifetime_ms: 3_000, ..Config::default() };
    let stack = Stack::start_with(&Settings { order, ..Settings::default() }).await;
    let order_id = stack.place().await;
    assert_eq!(follow(&stack.replica, order_id, 0).await.rest().await, sent(&[(1, "placed")]));
}
