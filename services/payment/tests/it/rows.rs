//! Every state survives its columns, and impossible facts leave nothing behind.

use std::sync::Arc;

use contracts::clock::{new_id, now};
use inbox::{Context, UnitOfWork};
use payment::adapters::postgres::batch::BatchDeps;
use payment::application::{Payments, subscriptions};
use payment::domain::{Call, Charge, Charging, Money, PaymentMethod, RefundId, State, TransactionId, Undo};
use tokio::sync::Notify;

use crate::stack::{Stack, placed};

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
        for step in [
            Charging::Authorizing,
            Charging::CheckingFraud { authorization: id("a") },
            Charging::Capturing { authorization: id("a") },
        ] {
            states.push(State::Charging { charge: charge.clone(), step, call });
        }
        for undo in [
            Undo::ResolvingAuthorization,
            Undo::ResolvingCapture { authorization: id("a") },
            Undo::Voiding { authorization: None },
            Undo::Voiding { authorization: Some(id("a")) },
            Undo::Refunding { capture: id("c") },
        ] {
            states.push(State::Cancelling { charge: charge.clone(), undo, call });
        }
        let (authorization, reason) = (id("a"), "no".to_owned());
        states.push(State::Declining { charge: charge.clone(), authorization, reason, call });
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
    let deps = BatchDeps { wake: Arc::new(Notify::new()) };
    let received = crate::stack::received(placed(order_id, "tok_other"));
    let mut tx = stack.pool().begin().await.expect("beginning");
    let mut payments =
        Payments::load(&deps, &mut tx, std::slice::from_ref(&received)).await.expect("loading");
    let context = Context { envelope: &received.envelope, now: now() };
    let rejection = subscriptions().handle(&mut payments, &received.event, context).expect_err("impossible");
    assert_eq!(rejection.reason, "contradicting_order");
    payments.store(&deps, &mut tx).await.expect("storing");
    tx.commit().await.expect("committing");
    assert_eq!(stack.entry(order_id).await, before);
}
