//! A worker dies between any two steps; another one finishes, and nothing is charged twice by the provider's books.

use contracts::clock::new_id;
use payment::domain::{Answer, State, Step, TransactionId};

use crate::crash_points::{Armed, Crash, FaultyProvider, FaultySteps};
use crate::stack::{
    GIVEN_BACK, Money, NOTHING, SETTINGS, Stack, TAKEN, cancelled, keeps_money, placed, reserved,
};
use std::sync::Arc;
use uuid::Uuid;

/// Runs a worker until it dies of `crash` at `step`.
async fn die(stack: &Stack, crash: Crash, step: Step) {
    let armed = Armed::new(crash, step);
    let provider = Arc::new(FaultyProvider(stack.provider(), Arc::clone(&armed)));
    let steps = Arc::new(stack.steps(provider, SETTINGS));
    let worker = stack.worker_of(FaultySteps(steps, Arc::clone(&armed)), SETTINGS);
    stack.wake.notify_one();
    armed.reached().await;
    worker.kill().await;
}

/// Another worker takes over once the leases have ended.
async fn take_over(stack: &Stack) {
    stack.end_leases().await;
    let worker = stack.worker();
    stack.rest().await;
    worker.stop().await;
}

async fn check(stack: &Stack, order_id: Uuid, expected: Money, events: &[&str], what: &str) {
    assert_eq!(stack.money(order_id).await, expected, "{what}");
    let published = stack.published(order_id).await;
    assert_eq!(published, events, "{what}");
    let state = stack.entry(order_id).await.payment.state;
    assert_eq!(keeps_money(&state), expected == TAKEN, "{what}: {state:?}");
}

const COMPLETED: &str = "tidings.payment.PaymentCompleted";
const DECLINED: &str = "tidings.payment.PaymentDeclined";
const REFUNDED: &str = "tidings.payment.PaymentRefunded";

#[tokio::test]
async fn a_crash_anywhere_on_the_way_forward_charges_exactly_once() {
    for step in [Step::Authorize, Step::CheckFraud, Step::Capture] {
        for crash in Crash::ALL {
            let stack = Stack::start().await;
            let order_id = new_id();
            stack.apply(&[placed(order_id, "tok_visa"), reserved(order_id)]).await;
            die(&stack, crash, step).await;
            take_over(&stack).await;
            check(&stack, order_id, TAKEN, &[COMPLETED], &format!("{crash:?} of {step}")).await;
        }
    }
}

#[tokio::test]
async fn an_order_cancelled_while_its_worker_is_dead_gets_everything_back() {
    for step in [Step::Authorize, Step::CheckFraud, Step::Capture] {
        for crash in Crash::ALL {
            let stack = Stack::start().await;
            let order_id = new_id();
            stack.apply(&[placed(order_id, "tok_visa"), reserved(order_id)]).await;
            die(&stack, crash, step).await;
            stack.apply(&[cancelled(order_id)]).await;
            take_over(&stack).await;
            let what = format!("{crash:?} of {step}, then cancelled");
            let captured = step == Step::Capture && crash != Crash::BeforeCall;
            if captured {
                check(&stack, order_id, GIVEN_BACK, &[COMPLETED, REFUNDED], &what).await;
            } else {
                check(&stack, order_id, NOTHING, &[], &what).await;
            }
        }
    }
}

#[tokio::test]
async fn a_crash_anywhere_on_the_way_back_gives_back_exactly_once() {
    for crash in Crash::ALL {
        // Captured, then cancelled: a refund.
        let stack = Stack::start().await;
        let order_id = new_id();
        stack.apply(&[placed(order_id, "tok_visa"), reserved(order_id)]).await;
        take_over(&stack).await;
        stack.apply(&[cancelled(order_id)]).await;
        die(&stack, crash, Step::Refund).await;
        take_over(&stack).await;
        check(&stack, order_id, GIVEN_BACK, &[COMPLETED, REFUNDED], &format!("{crash:?} of refund")).await;

        // Authorized, then cancelled: a void.
        let stack = Stack::start().await;
        let order_id = new_id();
        stack.apply(&[placed(order_id, "tok_visa"), reserved(order_id)]).await;
        die(&stack, Crash::AfterProviderActed, Step::Authorize).await;
        stack.apply(&[cancelled(order_id)]).await;
        stack.end_leases().await;
        die(&stack, crash, Step::Void).await;
        take_over(&stack).await;
        check(&stack, order_id, NOTHING, &[], &format!("{crash:?} of void")).await;

        // Refused after the authorization: a void, then the decline is published.
        for token in ["tok_fraud", "tok_capture_declined"] {
            let stack = Stack::start().await;
            let order_id = new_id();
            stack.apply(&[placed(order_id, token), reserved(order_id)]).await;
            die(&stack, crash, Step::Void).await;
            take_over(&stack).await;
            check(&stack, order_id, NOTHING, &[DECLINED], &format!("{crash:?} of void, {token}")).await;
        }
    }
}

#[tokio::test]
async fn a_call_that_arrives_after_its_payment_was_voided_takes_nothing() {
    for step in [Step::Authorize, Step::Capture] {
        let stack = Stack::start().await;
        let order_id = new_id();
        stack.apply(&[placed(order_id, "tok_visa"), reserved(order_id)]).await;
        die(&stack, Crash::BeforeCall, step).await;
        let before = stack.entry(order_id).await.payment;
        stack.apply(&[cancelled(order_id)]).await;
        take_over(&stack).await;
        // The dead worker's call was on its way all the time.
        let State::InProgress { charge, .. } = &before.state else { panic!("{before:?}") };
        let provider = stack.provider();
        let any = TransactionId("any".to_owned());
        let late = match step {
            Step::Authorize => provider.authorize(before.payment_id, charge).await,
            _ => provider.capture(before.payment_id, charge, &any).await,
        };
        assert!(matches!(late, Ok(Answer::Declined { .. })), "{late:?}");
        check(&stack, order_id, NOTHING, &[], &format!("late {step}")).await;
    }
}

#[tokio::test]
async fn a_provider_that_acts_and_answers_too_late_charges_once() {
    let stack = Stack::start().await;
    let order_id = new_id();
    stack.apply(&[placed(order_id, "tok_timeout"), reserved(order_id)]).await;
    let worker = stack.worker();
    stack.rest().await;
    worker.stop().await;
    check(&stack, order_id, TAKEN, &[COMPLETED], "tok_timeout").await;
}

#[tokio::test]
async fn slow_and_flaky_providers_charge_once() {
    let stack = Stack::start().await;
    let orders = [new_id(), new_id()];
    stack.apply(&[placed(orders[0], "tok_slow"), reserved(orders[0])]).await;
    stack.apply(&[placed(orders[1], "tok_flaky"), reserved(orders[1])]).await;
    let worker = stack.worker();
    stack.rest().await;
    worker.stop().await;
    for order_id in orders {
        check(&stack, order_id, TAKEN, &[COMPLETED], "slow or flaky").await;
    }
}
