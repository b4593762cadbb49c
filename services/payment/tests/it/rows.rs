//! Every state survives its columns, and impossible facts leave nothing behind.

use contracts::clock::{new_id, now};
use inbox::{Context, UnitOfWork};
use payment::adapters::postgres::batch::Batch;
use payment::domain::{Call, Charge, Money, NextStep, PaymentMethod, RefundId, State, TransactionId};

use crate::stack::{Stack, placed, subscriptions};

fn every_state() -> Vec<State> {
    let charge = Charge {
        money: Money { amount_minor: 1, currency: "JPY".to_owned() },
        method: PaymentMethod::new("tok_\"quoted\"\\"),
    };
    let id = |name: &str| TransactionId(name.to_owned());
    let mut states = vec![
        State::Unknown,
        State::AwaitingStock { charge: charge.clone() },
        State::AwaitingOrder,
        State::Completed { charge: charge.clone(), capture: id("c") },
        State::Declined { charge: charge.clone(), reason: "no".to_owned() },
        State::Voided { charge: charge.clone() },
        State::Refunded {
            charge: charge.clone(),
            capture: id("c"),
            refund_id: RefundId(new_id()),
            refund: id("r"),
        },
        State::Cancelled,
    ];
    for call in [Call::Due, Call::InDoubt] {
        for next in [
            NextStep::Authorize,
            NextStep::CheckFraud { authorization: id("a") },
            NextStep::Capture { authorization: id("a") },
            NextStep::VoidDeclined { authorization: id("a"), reason: "no".to_owned() },
            NextStep::ResolveAuthorization,
            NextStep::ResolveCapture { authorization: id("a") },
            NextStep::Void { authorization: None },
            NextStep::Void { authorization: Some(id("a")) },
            NextStep::Refund { capture: id("c") },
        ] {
            states.push(State::InProgress { charge: charge.clone(), next, call });
        }
    }
    states
}

#[tokio::test]
async fn every_state_is_read_as_it_was_written() {
    let stack = Stack::start().await;
    for state in every_state() {
        let order_id = new_id();
        stack.write_state(order_id, state.clone()).await;
        assert_eq!(stack.entry(order_id).await.payment.state, state);
    }
}

#[tokio::test]
async fn another_order_under_the_same_id_is_dead_lettered_by_its_own_event() {
    let stack = Stack::start().await;
    let order_id = new_id();
    stack.apply(&[placed(order_id, "tok_visa")]).await;
    let before = stack.entry(order_id).await;
    let deps = crate::stack::deps();
    let received = crate::stack::received(placed(order_id, "tok_other"));
    let mut tx = stack.pool().begin().await.expect("beginning");
    let mut batch = Batch::load(&deps, &mut tx, std::slice::from_ref(&received)).await.expect("loading");
    let context = Context { envelope: &received.envelope, now: now() };
    let rejection = subscriptions().handle(&mut batch, &received.event, context).expect_err("impossible");
    assert_eq!(rejection.reason, "contradicting_order");
    batch.store(&deps, &mut tx).await.expect("storing");
    tx.commit().await.expect("committing");
    assert_eq!(stack.entry(order_id).await, before);
}
