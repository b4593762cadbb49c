//! Requests that are committed together: none harms another, on one replica or on two (docs/adr/0040).

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::StatusCode;
use chrono::TimeDelta;
use contracts::{Cause, TraceContext, clock};
use database::{Bounds, Database, Operation};
use events::Publisher;
use order::adapters::postgres::{Announced, OrderStore, StoreError};
use order::application::place_order::{place_orders, prepare};
use order::application::{Answer, CustomerKey, PlaceOutcome, Placing};
use order::domain::{CustomerId, OrderId, Placement};
use serde_json::Value;
use service::group_commit::Commit;
use sqlx::{Postgres, Transaction};
use testkit::interleave::every_interleaving;
use testkit::wait::eventually;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::in_memory::placement;
use crate::stack::{Answered, Replica, Settings, Stack, WAIT_TIMEOUT, valid_order};

const CUSTOMER: &str = "17850";

/// The tables of a replica whose statements may wait for a lock for much longer than a test waits.
fn patient(stack: &Stack) -> Database {
    let bounds = Bounds { work: 12 * WAIT_TIMEOUT, request: 12 * WAIT_TIMEOUT };
    Database::new(stack.database().options().clone(), 20, bounds)
}

fn store(stack: &Stack) -> OrderStore {
    OrderStore::new(patient(stack), Publisher::new(Arc::clone(&stack.codec), "order", 1_000_000))
}

/// A request of so many units, decided and answered.
fn placing(store: &OrderStore, key: &str, quantity: i64) -> Placing<Announced> {
    let order_id = OrderId(clock::new_id());
    let placement = placement(CUSTOMER, quantity, 100);
    let cause = Cause {
        correlation_id: order_id.0,
        causation_id: None,
        user_id: None,
        trace: TraceContext::default(),
    };
    let (view, outcome) = prepare(order_id, placement, TimeDelta::minutes(15), &cause, clock::now()).unwrap();
    let answer = Answer { status_code: 202, etag: "\"1\"".to_owned(), body: format!("answer to {order_id}") };
    let key = CustomerKey { customer_id: view.placement.customer_id.clone(), key: key.to_owned() };
    Placing { key, order_id, request: view.placement, answer, prepared: store.announce(outcome).unwrap() }
}

/// A foreign transaction that has inserted this key, and does not end.
async fn hold<'a>(stack: &'a Stack, key: &str) -> Transaction<'a, Postgres> {
    let mut foreign = stack.pool().begin().await.unwrap();
    sqlx::query(
        "INSERT INTO idempotency_keys (customer_id, key, request, order_id, status_code, etag, body)
         VALUES ($1, $2, '{}', $3, 202, '', '')",
    )
    .bind(CUSTOMER)
    .bind(key)
    .bind(clock::new_id())
    .execute(&mut *foreign)
    .await
    .unwrap();
    foreign
}

async fn until_waiting(stack: &Stack, count: i64) {
    eventually("sessions wait for locks", WAIT_TIMEOUT, async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(stack.pool())
        .await
        .unwrap();
        if waiting == count { Ok(()) } else { Err(waiting) }
    })
    .await;
}

/// The request of a customer whose orders fail so, or succeed.
fn order_of(customer_id: &str) -> Value {
    let mut order = valid_order();
    order["customer_id"] = customer_id.into();
    order
}

/// Posts the orders at once; gives the answers in their order.
async fn post_together(replica: &Arc<Replica>, orders: Vec<(String, Value)>) -> Vec<Answered> {
    let mut posts = JoinSet::new();
    for (at, (key, order)) in orders.into_iter().enumerate() {
        let replica = Arc::clone(replica);
        posts.spawn(async move { (at, replica.post_order(&key, &order).await) });
    }
    let mut answers = timeout(WAIT_TIMEOUT, posts.join_all()).await.expect("an answer is missing");
    answers.sort_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_two_replicas_with_the_same_keys_do_not_wait_for_each_other_crosswise() {
    let stack = Stack::start().await;
    let (one, other) = (store(&stack), store(&stack));
    let keys = ["a", "m", "z"];
    let forwards: Vec<_> = keys.iter().map(|key| placing(&one, key, 1)).collect();
    let backwards: Vec<_> = keys.iter().rev().map(|key| placing(&other, key, 1)).collect();
    // Both wait in the middle: one of them for the foreign transaction, the other for it or for the first.
    let foreign = hold(&stack, "m").await;
    let commit = async |store: &OrderStore, group: &[Placing<Announced>]| {
        store.transaction(Operation::Request, |transaction| place_orders(transaction, group)).await
    };
    let released = async {
        until_waiting(&stack, 2).await;
        foreign.rollback().await.unwrap();
    };
    let (left, right, ()) = tokio::join!(commit(&one, &forwards), commit(&other, &backwards), released);
    let (left, mut right) = (left.unwrap(), right.unwrap());
    right.reverse();
    for (at, pair) in left.iter().zip(&right).enumerate() {
        let (placed, replayed) = match pair {
            (PlaceOutcome::Placed, PlaceOutcome::Replayed { order_id, answer }) => {
                (&forwards[at], (order_id, answer))
            }
            (PlaceOutcome::Replayed { order_id, answer }, PlaceOutcome::Placed) => {
                (&backwards[keys.len() - 1 - at], (order_id, answer))
            }
            other => panic!("one places, the other is answered as it was: {other:?}"),
        };
        assert_eq!(replayed, (&placed.order_id, &placed.answer));
    }
    assert_eq!(stack.check_invariants().await, keys.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_groups_that_share_a_key_place_one_order_for_it_in_every_interleaving() {
    let stack = Stack::start().await;
    let options = stack.database.url().parse().unwrap();
    let commit = |case: String, own: &'static str, database: Database| {
        let store = OrderStore::new(database, stack.replica.outbox.clone());
        async move {
            let group: Vec<_> =
                [own, "shared"].iter().map(|key| placing(&store, &format!("{case} {key}"), 1)).collect();
            let use_case = |transaction| place_orders(transaction, &group);
            let outcomes = store.transaction(Operation::Request, use_case).await.unwrap();
            assert_eq!(outcomes[0], PlaceOutcome::Placed, "its own");
        }
    };
    let placed = std::cell::Cell::new(0);
    let explored = Box::pin(every_interleaving(
        &options,
        2_000,
        async || clock::new_id().to_string(),
        |case, database| commit(case, "left", database),
        |case, database| commit(case, "right", database),
        |_, schedule| {
            placed.set(placed.get() + 3);
            let (stack, expected) = (&stack, placed.get());
            async move { assert_eq!(stack.check_invariants().await, expected, "{schedule}") }
        },
    ))
    .await;
    println!("a key of two groups: {explored:?}");
}

#[tokio::test]
async fn a_group_does_not_wait_long_for_a_foreign_lock() {
    let stack = Stack::start().await;
    let store = store(&stack);
    let foreign = hold(&stack, "held").await;
    let group = ["free", "held"].map(|key| placing(&store, key, 1));
    let error =
        timeout(WAIT_TIMEOUT, store.commit(&group)).await.expect("it waits for the lock").unwrap_err();
    assert!(OrderStore::is_of_one(&error), "its members go on alone: {error}");
    assert_eq!(stack.check_invariants().await, 0);
    drop(foreign);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_a_foreign_transaction_holds_delays_no_other_request() {
    let stack = Stack::start().await;
    let replica = Arc::new(Replica::start(patient(&stack), &stack.bus, &stack.codec, &Settings::default()));
    let foreign = hold(&stack, "held").await;
    let mut held = JoinSet::new();
    let waiting = Arc::clone(&replica);
    held.spawn(async move { waiting.post_order("held", &valid_order()).await });
    let others = (0..40).map(|n| (format!("other {n}"), valid_order())).collect();
    for answer in post_together(&replica, others).await {
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    }
    assert!(held.try_join_next().is_none(), "its key is held");
    foreign.rollback().await.unwrap();
    let answer = timeout(WAIT_TIMEOUT, held.join_next()).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    assert_eq!(stack.check_invariants().await, 41);
}

#[tokio::test]
async fn a_replay_and_a_reused_key_are_answered_beside_new_orders() {
    let stack = Stack::start().await;
    let store = store(&stack);
    let first = [placing(&store, "replayed", 1), placing(&store, "reused", 1)];
    assert_eq!(store.commit(&first).await.unwrap(), [PlaceOutcome::Placed, PlaceOutcome::Placed]);
    let group = [("new", 1), ("reused", 2), ("replayed", 1), ("another", 1)]
        .map(|(key, quantity)| placing(&store, key, quantity));
    let replayed = PlaceOutcome::Replayed { order_id: first[0].order_id, answer: first[0].answer.clone() };
    assert_eq!(
        store.commit(&group).await.unwrap(),
        [PlaceOutcome::Placed, PlaceOutcome::KeyReused, replayed.clone(), PlaceOutcome::Placed]
    );
    let group = [placing(&store, "replayed", 1), placing(&store, "reused", 3)];
    assert_eq!(store.commit(&group).await.unwrap(), [replayed, PlaceOutcome::KeyReused]);
    assert_eq!(stack.check_invariants().await, 4);
}

/// Makes the head of each order of a customer `fails CODE` fail with that SQLSTATE.
async fn let_orders_fail(stack: &Stack) {
    for statement in [
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN RAISE EXCEPTION 'as it was told' USING ERRCODE = substr(NEW.customer_id, 7); END $$",
        "CREATE TRIGGER fail BEFORE INSERT ON orders FOR EACH ROW WHEN (NEW.customer_id LIKE 'fails %')
         EXECUTE FUNCTION fail()",
    ] {
        sqlx::query(statement).execute(stack.pool()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_the_database_refuses_harms_no_other_of_its_group() {
    let stack = Stack::start().await;
    let_orders_fail(&stack).await;
    let store = store(&stack);
    for (at, code) in ["40P01", "40001", "55P03", "22021", "23514", "23505", "P0001"].iter().enumerate() {
        let good = placing(&store, &format!("good {at}"), 1);
        let mut bad = placing(&store, &format!("bad {at}"), 1);
        bad.prepared = of_customer(&store, &bad, &format!("fails {code}"));
        let error = store.commit(&[good, bad]).await.unwrap_err();
        assert!(OrderStore::is_of_one(&error), "{code}: {error}");

        let replica = Arc::new(stack.another_replica());
        let orders = (0..30).map(|n| {
            let customer = if n % 10 == 5 { format!("fails {code}") } else { format!("customer {n}") };
            (format!("{code} {n}"), order_of(&customer))
        });
        for (n, answer) in post_together(&replica, orders.collect()).await.iter().enumerate() {
            let expected = n % 10 != 5;
            assert_eq!(answer.status == StatusCode::ACCEPTED, expected, "{code} {n}: {answer:?}");
        }
        assert_eq!(stack.check_invariants().await, 27 * (at + 1));
    }
}

/// The same order of another customer.
fn of_customer(store: &OrderStore, placing: &Placing<Announced>, customer_id: &str) -> Announced {
    let placement = Placement {
        customer_id: CustomerId::try_new(customer_id).unwrap(),
        ..Placement::clone(&placing.request)
    };
    let cause = Cause {
        correlation_id: placing.order_id.0,
        causation_id: None,
        user_id: None,
        trace: TraceContext::default(),
    };
    let deadline = TimeDelta::minutes(15);
    let (_, outcome) = prepare(placing.order_id, placement, deadline, &cause, clock::now()).unwrap();
    store.announce(outcome).unwrap()
}

#[tokio::test]
async fn a_failure_of_the_database_as_a_whole_is_nobodys_and_splits_no_group() {
    let stack = Stack::start().await;
    let_orders_fail(&stack).await;
    let store = store(&stack);
    for code in ["57014", "53100", "42501", "57P01"] {
        let mut bad = placing(&store, "bad", 1);
        bad.prepared = of_customer(&store, &bad, &format!("fails {code}"));
        let error: StoreError = store.commit(&[placing(&store, "good", 1), bad]).await.unwrap_err();
        assert!(!OrderStore::is_of_one(&error), "{code}: {error}");
    }
    assert_eq!(stack.check_invariants().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_leave_and_a_shutdown_undo_nothing_of_a_group() {
    let stack = Stack::start().await;
    let replica = Arc::new(Replica::start(patient(&stack), &stack.bus, &stack.codec, &Settings::default()));
    let foreign = hold(&stack, "key 0").await;
    let mut clients = JoinSet::new();
    for n in 0..10 {
        let replica = Arc::clone(&replica);
        clients.spawn(async move { replica.post_order(&format!("key {n}"), &valid_order()).await.status });
    }
    until_waiting(&stack, 1).await;
    eventually("all requests are in hand or answered", WAIT_TIMEOUT, async || {
        let (in_hand, answered) = (replica.requests.len(), stack.check_invariants().await);
        if in_hand + answered >= 10 { Ok(()) } else { Err((in_hand, answered)) }
    })
    .await;
    // The clients leave, and the service waits for its handlers.
    clients.shutdown().await;
    replica.requests.close();
    foreign.rollback().await.unwrap();
    timeout(WAIT_TIMEOUT, replica.requests.wait()).await.expect("a handler does not end");
    assert_eq!(stack.check_invariants().await, 10);
    let keys: Vec<String> =
        sqlx::query_scalar("SELECT key FROM idempotency_keys").fetch_all(stack.pool()).await.unwrap();
    let expected: BTreeSet<String> = (0..10).map(|n| format!("key {n}")).collect();
    assert_eq!(BTreeSet::from_iter(keys), expected);
}
