//! Facts of two topics in overlapping transactions: every interleaving of their statements and commits.

use contracts::AnyEvent;
use contracts::clock::new_id;
use database::Database;
use payment::adapters::postgres::saga::SagaStore;
use payment::application::perform_steps::perform;
use payment::application::saga_job::Performed;
use payment::domain::{NextStep, State, Step, Task};
use testkit::interleave::every_interleaving;
use uuid::Uuid;

use crate::stack::{GIVEN_BACK, NOTHING, Stack, apply, cancelled, keeps_money, placed, reserved};

const MOST: usize = 5_000;

/// Runs one batch of each topic at once, in every interleaving, and checks what stands in the row afterwards.
async fn race(
    name: &str,
    before: impl Fn(Uuid) -> Vec<AnyEvent>,
    left: impl Fn(Uuid) -> Vec<AnyEvent>,
    right: impl Fn(Uuid) -> Vec<AnyEvent>,
    check: impl Fn(&State, Option<Task>) -> bool,
) {
    let stack = Stack::start().await;
    let batch =
        |facts: Vec<AnyEvent>| move |database: Database| async move { apply(&database, &facts).await };
    let explored = every_interleaving(
        stack.pool().connect_options().as_ref(),
        MOST,
        async || {
            let order_id = new_id();
            let facts = before(order_id);
            if !facts.is_empty() {
                stack.apply(&facts).await;
            }
            order_id
        },
        |order_id, database| batch(left(order_id))(database),
        |order_id, database| batch(right(order_id))(database),
        async |order_id, schedule| {
            let payment = stack.entry(order_id).await.payment;
            assert!(check(&payment.state, payment.due()), "{name}, schedule {schedule}: {payment:?}");
        },
    )
    .await;
    println!("{name}: {} interleavings, up to {} statements each", explored.schedules, explored.longest);
    assert!(explored.schedules > 1, "{name}: only one interleaving was run");
}

/// Whether the saga's next step leads to the capture.
fn is_charging(state: &State) -> bool {
    use NextStep::{Authorize, Capture, CheckFraud};
    matches!(state, State::InProgress { next: Authorize | CheckFraud { .. } | Capture { .. }, .. })
}

#[tokio::test]
async fn an_order_and_its_reservation_at_the_same_time_are_charged() {
    race(
        "OrderPlaced | StockReserved",
        |_| vec![],
        |order_id| vec![placed(order_id, "tok_visa")],
        |order_id| vec![reserved(order_id)],
        |state, due| is_charging(state) && due.is_some(),
    )
    .await;
}

#[tokio::test]
async fn a_cancellation_and_a_reservation_at_the_same_time_are_never_charged() {
    for known in [false, true] {
        race(
            "OrderCancelled | StockReserved",
            |order_id| if known { vec![placed(order_id, "tok_visa")] } else { vec![] },
            |order_id| vec![cancelled(order_id)],
            |order_id| vec![reserved(order_id)],
            |state, due| *state == State::Cancelled && due.is_none(),
        )
        .await;
    }
}

#[tokio::test]
async fn a_placed_and_cancelled_order_and_its_reservation_at_the_same_time_are_never_charged() {
    race(
        "OrderPlaced + OrderCancelled | StockReserved",
        |_| vec![],
        |order_id| vec![placed(order_id, "tok_visa"), cancelled(order_id)],
        |order_id| vec![reserved(order_id)],
        |state, due| *state == State::Cancelled && due.is_none(),
    )
    .await;
}

#[tokio::test]
async fn batches_that_share_two_orders_in_opposite_order_do_not_deadlock() {
    let stack = Stack::start().await;
    let explored = every_interleaving(
        stack.pool().connect_options().as_ref(),
        MOST,
        async || (new_id(), new_id()),
        |(one, two), database| async move {
            apply(&database, &[placed(one, "tok_visa"), placed(two, "tok_visa")]).await;
        },
        |(one, two), database| async move { apply(&database, &[reserved(two), reserved(one)]).await },
        async |(one, two), schedule| {
            for order_id in [one, two] {
                let state = stack.entry(order_id).await.payment.state;
                assert!(is_charging(&state), "schedule {schedule}: {state:?}");
            }
        },
    )
    .await;
    println!("two orders, two batches: {} interleavings", explored.schedules);
}

/// The left side commits an order that the right one is about to insert, and goes on with both orders, of which the other one was
/// there: whoever holds one of them only after that waits for nobody who holds the other.
#[tokio::test]
async fn a_batch_that_misses_a_row_holds_no_other_one_meanwhile() {
    let stack = Stack::start().await;
    let explored = every_interleaving(
        stack.pool().connect_options().as_ref(),
        MOST,
        async || {
            let (one, two) = (new_id(), new_id());
            stack.apply(&[placed(two, "tok_visa")]).await;
            (one, two)
        },
        |(one, two), database| async move {
            apply(&database, &[placed(one, "tok_visa")]).await;
            apply(&database, &[cancelled(one), cancelled(two)]).await;
        },
        |(one, two), database| async move { apply(&database, &[reserved(one), reserved(two)]).await },
        async |(one, two), schedule| {
            for order_id in [one, two] {
                let state = stack.entry(order_id).await.payment.state;
                assert_eq!(state, State::Cancelled, "schedule {schedule}");
            }
        },
    )
    .await;
    println!("an inserted and a known order, two batches: {} interleavings", explored.schedules);
}

#[tokio::test]
async fn a_cancellation_while_an_answer_is_being_stored_gives_everything_back() {
    let stack = Stack::start().await;
    let explored = every_interleaving(
        stack.pool().connect_options().as_ref(),
        MOST,
        async || {
            // Authorized and checked; the capture has been done and its answer is about to be stored.
            let order_id = new_id();
            stack.apply(&[placed(order_id, "tok_visa"), reserved(order_id)]).await;
            let performed = capture(&stack, order_id).await;
            (order_id, performed)
        },
        |(_, performed), database| async move {
            let store = SagaStore::new(database, crate::stack::outbox(), crate::stack::POLICY);
            store.record(&[performed], false).await.expect("recording");
        },
        |(order_id, _), database| async move { apply(&database, &[cancelled(order_id)]).await },
        async |(order_id, _), schedule| {
            let worker = stack.worker();
            stack.rest().await;
            worker.stop().await;
            let state = stack.entry(order_id).await.payment.state;
            assert!(!keeps_money(&state), "schedule {schedule}: {state:?}");
            let money = stack.money(order_id).await;
            assert!(money == GIVEN_BACK || money == NOTHING, "schedule {schedule}: {money:?}");
        },
    )
    .await;
    println!("OrderCancelled | answer of the capture: {} interleavings", explored.schedules);
    assert!(explored.schedules > 1);
}

/// The same before the capture: the answer is stored by one statement, and the step that follows is leased by it.
#[tokio::test]
async fn a_cancellation_while_an_answer_and_the_next_lease_are_being_stored_gives_everything_back() {
    for step in [Step::Authorize, Step::CheckFraud] {
        let stack = Stack::start().await;
        let explored = every_interleaving(
            stack.pool().connect_options().as_ref(),
            MOST,
            async || {
                let order_id = new_id();
                stack.apply(&[placed(order_id, "tok_visa"), reserved(order_id)]).await;
                let performed = perform_up_to(step, &stack, order_id).await;
                (order_id, performed)
            },
            |(_, performed), database| async move {
                let store = SagaStore::new(database, crate::stack::outbox(), crate::stack::POLICY);
                store.record(&[performed], true).await.expect("recording");
            },
            |(order_id, _), database| async move { apply(&database, &[cancelled(order_id)]).await },
            async |(order_id, _), schedule| {
                // The worker that had leased the next step has died.
                stack.end_leases().await;
                let worker = stack.worker();
                stack.rest().await;
                worker.stop().await;
                let state = stack.entry(order_id).await.payment.state;
                assert!(!keeps_money(&state), "{step}, schedule {schedule}: {state:?}");
                let money = stack.money(order_id).await;
                assert_eq!(money, NOTHING, "{step}, schedule {schedule}");
            },
        )
        .await;
        println!("OrderCancelled | answer of {step}: {} interleavings", explored.schedules);
        assert!(explored.schedules > 1);
    }
}

/// Does all steps up to the capture and gives its answer, not yet stored.
async fn capture(stack: &Stack, order_id: Uuid) -> Performed {
    perform_up_to(Step::Capture, stack, order_id).await
}

/// Does all steps up to this one and gives its answer, not yet stored.
async fn perform_up_to(last: Step, stack: &Stack, order_id: Uuid) -> Performed {
    let (store, provider) = (stack.store(), stack.provider());
    let mut leased = store.lease(1_000).await.expect("leasing");
    loop {
        let next = leased
            .into_iter()
            .find(|leased| leased.payment.order_id.0 == order_id)
            .expect("a step of this order");
        let (_, report) =
            perform(provider.as_ref(), &next.payment, next.task, crate::stack::WAIT_TIMEOUT).await;
        let step = next.task.step();
        let performed = next.performed(report);
        if step == last {
            return performed;
        }
        leased = store.record(&[performed], true).await.expect("recording");
    }
}
