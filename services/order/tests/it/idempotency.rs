//! A request places one order, however often and however simultaneously it is sent.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::StatusCode;
use contracts::clock;
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::events::payment_completed;
use crate::stack::{Answered, Stack, valid_order};

#[tokio::test]
async fn a_repeated_request_gets_the_stored_answer_to_the_byte() {
    let stack = Stack::start().await;
    let first = stack.replica.post_order("key", &valid_order()).await;
    stack.apply(vec![payment_completed(first.order_id())]).await;
    // The same request, written differently: what counts is what it says.
    let respelled = valid_order().to_string().replace(',', ",  ");
    let again = stack.replica.post_order("key", &serde_json::from_str(&respelled).unwrap()).await;
    assert_eq!(again.status, StatusCode::ACCEPTED);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.text, first.text);
    for header in ["etag", "location", "content-type"] {
        assert_eq!(again.header(header), first.header(header));
    }
    assert_eq!(stack.check_invariants().await, 1);
}

#[tokio::test]
async fn a_key_belongs_to_one_request() {
    let stack = Stack::start().await;
    stack.replica.post_order("key", &valid_order()).await;
    let mut other = valid_order();
    other["lines"][0]["quantity"] = 7.into();
    let answered = stack.replica.post_order("key", &other).await;
    assert_eq!(answered.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answered.problem(), "idempotency-key-reused");
    assert_eq!(stack.check_invariants().await, 1);
}

#[tokio::test]
async fn a_key_belongs_to_one_customer() {
    let stack = Stack::start().await;
    let mine = stack.replica.post_order("key", &valid_order()).await;
    let mut theirs = valid_order();
    theirs["customer_id"] = "18102".into();
    let theirs = stack.replica.post_order("key", &theirs).await;
    assert_eq!(theirs.status, StatusCode::ACCEPTED);
    assert_ne!(mine.order_id(), theirs.order_id());
    assert_eq!(stack.check_invariants().await, 2);
}

/// Requests that are released together.
const TOGETHER: usize = 50;
/// How often.
const ROUNDS: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_requests_released_together_place_one_order_and_get_one_answer() {
    let stack = Arc::new(Stack::start().await);
    let other = Arc::new(stack.another_replica());
    for round in 0..ROUNDS {
        let barrier = Arc::new(Barrier::new(TOGETHER));
        let mut requests = JoinSet::new();
        for n in 0..TOGETHER {
            let (stack, other, barrier) = (Arc::clone(&stack), Arc::clone(&other), Arc::clone(&barrier));
            requests.spawn(async move {
                barrier.wait().await;
                let replica = if n % 2 == 0 { &stack.replica } else { &*other };
                replica.post_order(&format!("round {round}"), &valid_order()).await
            });
        }
        let answers = requests.join_all().await;
        assert!(answers.iter().all(|answer| answer.status == StatusCode::ACCEPTED), "{answers:?}");
        let bodies: BTreeSet<_> = answers.iter().map(|answer| answer.text.as_str()).collect();
        assert_eq!(bodies.len(), 1, "round {round}: one answer");
        let replayed = answers.iter().filter(|answer| answer.header("idempotent-replayed").is_some()).count();
        assert_eq!(replayed, TOGETHER - 1, "round {round}: all but one are replays");
        assert_eq!(stack.check_invariants().await, round + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_different_requests_with_one_key_never_both_succeed() {
    let stack = Arc::new(Stack::start().await);
    for round in 0..ROUNDS {
        let barrier = Arc::new(Barrier::new(2));
        let mut requests = JoinSet::new();
        for quantity in [1, 2] {
            let (stack, barrier) = (Arc::clone(&stack), Arc::clone(&barrier));
            requests.spawn(async move {
                let mut order = valid_order();
                order["lines"][0]["quantity"] = quantity.into();
                barrier.wait().await;
                stack.replica.post_order(&format!("round {round}"), &order).await.status
            });
        }
        let mut statuses = requests.join_all().await;
        statuses.sort();
        assert_eq!(statuses, [StatusCode::ACCEPTED, StatusCode::UNPROCESSABLE_ENTITY]);
    }
    assert_eq!(stack.check_invariants().await, ROUNDS);
}

impl Stack {
    /// Stores an answered request as another release has stored it.
    async fn store_request(&self, key: &str, customer_id: &str, stored: &Value) {
        sqlx::query(
            "INSERT INTO idempotency_keys (customer_id, key, request, order_id, status_code, etag, body)
             VALUES ($1, $2, $3, $4, 202, '\"1\"', 'as answered then')",
        )
        .bind(customer_id)
        .bind(key)
        .bind(stored)
        .bind(clock::new_id())
        .execute(self.pool())
        .await
        .unwrap();
    }

    /// The request as this release stores it.
    async fn stored_request(&self, key: &str) -> Value {
        sqlx::query_scalar("SELECT request FROM idempotency_keys WHERE key = $1")
            .bind(key)
            .fetch_one(self.pool())
            .await
            .unwrap()
    }
}

fn is_replayed(answered: &Answered) -> bool {
    answered.status == StatusCode::ACCEPTED
        && answered.header("idempotent-replayed") == Some("true")
        && answered.text == "as answered then"
}

/// Golden files are only ever added: one for each release that stores requests in another form.
#[tokio::test]
async fn requests_that_an_earlier_release_stored_replay_and_are_stored_as_it_would() {
    let stack = Stack::start().await;
    let golden: Vec<Value> = serde_json::from_str(include_str!("golden_requests/0.2.0.json")).unwrap();
    for (at, request) in golden.iter().enumerate() {
        let (sent, stored) = (&request["sent"], &request["stored"]);
        let customer_id = sent["customer_id"].as_str().unwrap();
        let (theirs, ours) = (format!("theirs-{at}"), format!("ours-{at}"));
        stack.store_request(&theirs, customer_id, stored).await;
        let answered = stack.replica.post_order(&theirs, sent).await;
        assert!(is_replayed(&answered), "{answered:?}");
        let mut changed = sent.clone();
        changed["lines"][0]["quantity"] = json!(7);
        let refused = stack.replica.post_order(&theirs, &changed).await;
        assert_eq!(refused.problem(), "idempotency-key-reused");
        // The other way round: that release compares the JSON as it stands.
        stack.replica.post_order(&ours, sent).await;
        assert_eq!(stack.stored_request(&ours).await, *stored);
    }
}

#[tokio::test]
async fn a_field_that_another_release_knows_matters_only_if_it_was_set() {
    let stack = Stack::start().await;
    stack.replica.post_order("ours", &valid_order()).await;
    let ours = stack.stored_request("ours").await;

    // A later release has a field more: for the order, for each line, for the address.
    let mut unset = ours.clone();
    unset["channel"] = Value::Null;
    unset["lines"][1]["gift_wrap"] = Value::Null;
    unset["recipient"]["address"]["region"] = Value::Null;
    stack.store_request("unset", "17850", &unset).await;
    let answered = stack.replica.post_order("unset", &valid_order()).await;
    assert!(is_replayed(&answered), "{answered:?}");
    for (key, at) in
        [("one", "/channel"), ("two", "/lines/1/gift_wrap"), ("three", "/recipient/address/region")]
    {
        let mut set = unset.clone();
        *set.pointer_mut(at).unwrap() = json!("set");
        stack.store_request(key, "17850", &set).await;
        let refused = stack.replica.post_order(key, &valid_order()).await;
        assert_eq!(refused.problem(), "idempotency-key-reused", "{at}");
    }

    // An earlier release knew nothing of recipients.
    let mut without = ours.clone();
    without.as_object_mut().unwrap().remove("recipient");
    stack.store_request("earlier", "17850", &without).await;
    let mut sent = valid_order();
    sent.as_object_mut().unwrap().remove("recipient");
    let answered = stack.replica.post_order("earlier", &sent).await;
    assert!(is_replayed(&answered), "{answered:?}");
    assert_eq!(stack.replica.post_order("earlier", &valid_order()).await.problem(), "idempotency-key-reused");
}
