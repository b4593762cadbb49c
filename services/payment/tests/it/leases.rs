//! Leases: a step has one worker at a time, a dead worker's step goes to another, a late answer changes nothing.

use std::time::Duration;

use contracts::clock::new_id;
use payment::adapters::provider::Delays;
use payment::domain::{Answer, NextStep, Report, State, TransactionId};

use crate::stack::{DELAYS, SETTINGS, Stack, TAKEN, placed, reserved};

#[tokio::test]
async fn a_leased_step_is_nobody_elses_until_the_lease_ends() {
    let stack = Stack::start().await;
    let order_id = new_id();
    stack.apply(&[placed(order_id, "tok_visa"), reserved(order_id)]).await;
    let (one, other) = (stack.store(), stack.store());
    assert_eq!(one.lease(10).await.expect("leasing").len(), 1);
    assert_eq!(other.lease(10).await.expect("leasing"), []);
    stack.end_leases().await;
    assert_eq!(other.lease(10).await.expect("leasing").len(), 1);
}

#[tokio::test]
async fn an_answer_that_comes_after_its_lease_was_taken_over_changes_nothing() {
    let stack = Stack::start().await;
    let order_id = new_id();
    stack.apply(&[placed(order_id, "tok_visa"), reserved(order_id)]).await;
    let (one, other) = (stack.store(), stack.store());
    let late = one.lease(1).await.expect("leasing").remove(0);
    stack.end_leases().await;
    other.lease(1).await.expect("leasing");
    let before = stack.entry(order_id).await;
    let report = Report::Answered(Answer::Approved { transaction_id: TransactionId("late".to_owned()) });
    let answer = late.performed(report);
    assert_eq!(one.record(&[answer], true).await.expect("recording"), []);
    assert_eq!(stack.entry(order_id).await, before);
}

#[tokio::test]
async fn several_workers_share_many_orders_and_charge_each_once() {
    let stack = Stack::start().await;
    let orders: Vec<_> = (0..200).map(|_| new_id()).collect();
    let workers = [stack.worker(), stack.worker(), stack.worker()];
    for chunk in orders.chunks(50) {
        let facts: Vec<_> =
            chunk.iter().flat_map(|order_id| [placed(*order_id, "tok_visa"), reserved(*order_id)]).collect();
        stack.apply(&facts).await;
    }
    stack.rest().await;
    for worker in workers {
        worker.stop().await;
    }
    for order_id in orders {
        assert_eq!(stack.money(order_id).await, TAKEN);
        assert_eq!(stack.published(order_id).await, ["tidings.payment.PaymentCompleted"]);
        let entry = stack.entry(order_id).await;
        assert!(matches!(entry.payment.state, State::Completed { .. }), "{entry:?}");
        assert_eq!(entry.last_event.sequence, 1);
    }
}

#[tokio::test]
async fn a_stopped_worker_stores_what_was_answered_and_leaves_the_rest_due() {
    let stack = Stack::start().await;
    let order_id = new_id();
    stack.apply(&[placed(order_id, "tok_slow"), reserved(order_id)]).await;
    // So long that it is seen before the next step begins.
    let delays = Delays { slow: Duration::from_secs(3), ..DELAYS };
    let worker = stack.worker_of(stack.steps(stack.provider_with(delays), SETTINGS), SETTINGS);
    testkit::wait::eventually("the step is leased", crate::stack::WAIT_TIMEOUT, async || {
        let entry = stack.entry(order_id).await;
        entry.lease_id.ok_or(entry)
    })
    .await;
    worker.stop().await;
    let entry = stack.entry(order_id).await;
    assert_eq!(entry.lease_id, None, "{entry:?}");
    let State::InProgress { next, .. } = &entry.payment.state else { panic!("{entry:?}") };
    assert!(matches!(next, NextStep::CheckFraud { .. }), "{entry:?}");
    assert_eq!(stack.store().lease(1).await.expect("leasing").len(), 1, "due at once for the next worker");
}
