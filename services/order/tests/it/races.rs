//! Each pair of inputs that can race, on two connections, through every interleaving of their statements and commits.

use std::sync::Arc;

use axum::http::StatusCode;
use database::{Database, Operation};
use events::Publisher;
use order::adapters::postgres::BatchDeps;
use order::adapters::postgres::OrderStore;
use order::adapters::watch::Watcher;
use order::application::cancel_order::cancel_order;
use order::config::Config;
use order::domain::OrderId;
use testkit::interleave::every_interleaving;
use tokio_util::sync::CancellationToken;

use crate::arrivals::Input;
use crate::events::apply;
use crate::stack::{Replica, Settings, Stack, expire};

/// More schedules than any pair has.
const MOST: usize = 2_000;

/// Lets `input` happen to `order_id` on this connection, by the code that production runs.
async fn happen(input: Input, order_id: OrderId, database: Database, outbox: Publisher) {
    let store = OrderStore::new(database.clone(), outbox.clone());
    match input.event(order_id) {
        Some(event) => {
            let watcher = Watcher::new(&Config::default(), CancellationToken::new());
            apply(&database, BatchDeps { outbox, watcher }, vec![event]).await;
        }
        None if input == Input::Cancellation => {
            // Refused if the other one has confirmed it.
            let (trace, now) = (contracts::TraceContext::default(), contracts::clock::now());
            let use_case = |transaction| cancel_order(transaction, order_id, trace, now);
            let _ = store.transaction(Operation::Request, use_case).await;
        }
        None => {
            expire(&store, &[order_id], chrono::TimeDelta::zero()).await;
        }
    }
}

/// Lets `left` race each input from itself on, so that the tests below cover every pair once.
async fn races(left: Input) {
    let stack = Stack::start().await;
    let options = stack.database.url().parse().unwrap();
    let mut schedules = 0;
    let rights: Vec<Input> = Input::ALL.into_iter().filter(|right| *right >= left).collect();
    for right in &rights {
        let pair = [left, *right];
        let explored = Box::pin(every_interleaving(
            &options,
            MOST,
            async || {
                let order_id = stack.place().await;
                if pair.contains(&Input::Deadline) {
                    stack.let_deadlines_pass(&[order_id]).await;
                }
                order_id
            },
            |order_id, database| happen(pair[0], order_id, database, stack.replica.outbox.clone()),
            |order_id, database| happen(pair[1], order_id, database, stack.replica.outbox.clone()),
            |order_id, schedule| check(&stack, pair, order_id, schedule),
        ))
        .await;
        schedules += explored.schedules;
    }
    println!("{left:?} against {rights:?}: {schedules} interleavings");
}

/// After a race: one of the two has ended the order, if either can.
async fn check(stack: &Stack, pair: [Input; 2], order_id: OrderId, schedule: String) {
    let (status, reason) = stack.end_of(order_id).await;
    let end = (status.as_str(), reason.as_deref());
    let ends: Vec<_> = pair.into_iter().filter_map(Input::end).collect();
    let expected = if ends.is_empty() { end == ("placed", None) } else { ends.contains(&end) };
    assert!(expected, "{pair:?} by {schedule}: {end:?}");
    stack.check_invariants_of(order_id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_races_a_reservation_an_order_has_at_most_one_end() {
    races(Input::StockReserved).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_races_a_stock_rejection_an_order_has_one_end() {
    races(Input::StockRejected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_races_a_payment_an_order_has_one_end() {
    races(Input::PaymentCompleted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_races_a_declined_payment_an_order_has_one_end() {
    races(Input::PaymentDeclined).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_races_a_cancellation_an_order_has_one_end() {
    races(Input::Cancellation).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_that_race_each_other_end_an_order_once() {
    races(Input::Deadline).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_places_one_order_in_every_interleaving() {
    let stack = Stack::start().await;
    let options = stack.database.url().parse().unwrap();
    let (bus, codec) = (Arc::clone(&stack.bus), Arc::clone(&stack.codec));
    let post = |key: String, database: Database| {
        let replica = Replica::start(database, &bus, &codec, &Settings::default());
        async move {
            let answered = replica.post_order(&key, &crate::stack::valid_order()).await;
            assert_eq!(answered.status, StatusCode::ACCEPTED);
        }
    };
    let placed = std::cell::Cell::new(0);
    let explored = Box::pin(every_interleaving(
        &options,
        MOST,
        async || contracts::clock::new_id().to_string(),
        &post,
        &post,
        |_, schedule| {
            placed.set(placed.get() + 1);
            let (stack, expected) = (&stack, placed.get());
            async move { assert_eq!(stack.check_invariants().await, expected, "{schedule}") }
        },
    ))
    .await;
    println!("one key twice: {explored:?}");
}
