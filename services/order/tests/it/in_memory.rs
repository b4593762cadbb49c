//! Every order of arrival of what can end an order, in memory: one end, the first one's, and a published sequence
//! without a gap.

use chrono::{DateTime, TimeDelta, Utc};
use contracts::{AnyEvent, Cause, TraceContext};
use order::adapters::contract::translate;
use order::application::place_order::place_order;
use order::application::work::Outcome;
use order::application::{DeadlineChange, Work, WorkError, cancel_order, expire_orders, record_fact};
use order::domain::{
    CancellationReason, CurrencyCode, CustomerId, Fact, Line, Order, OrderId, PaymentMethod, Placement,
    Progress, Quantity, Refusal, Sku, UnitPrice, replay,
};
use proptest::prelude::*;
use uuid::Uuid;

/// What can happen to an open order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Input {
    StockReserved,
    StockRejected,
    PaymentCompleted,
    PaymentDeclined,
    Cancellation,
    Deadline,
}

const ENDERS: [Input; 5] = [
    Input::StockRejected,
    Input::PaymentCompleted,
    Input::PaymentDeclined,
    Input::Cancellation,
    Input::Deadline,
];

const ORDER: OrderId = OrderId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));
const PAYMENT: Uuid = Uuid::from_u128(1);

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

fn new_id() -> Uuid {
    Uuid::from_u128(42)
}

fn cause() -> Cause {
    Cause {
        correlation_id: Uuid::from_u128(2),
        causation_id: None,
        user_id: None,
        trace: TraceContext::default(),
    }
}

fn placed() -> Work {
    let line = Line {
        sku: Sku::try_new("22423").unwrap(),
        quantity: Quantity::try_new(2).unwrap(),
        unit_price_minor: UnitPrice::try_new(1_275).unwrap(),
    };
    let placement = Placement::try_new(
        CustomerId::try_new("12345").unwrap(),
        CurrencyCode::try_new("GBP").unwrap(),
        vec![line],
        PaymentMethod::try_new("tok_visa").unwrap(),
        None,
    )
    .unwrap();
    place_order(ORDER, placement, TimeDelta::minutes(15), &cause(), at(0), translate, new_id).unwrap()
}

fn apply(work: &mut Work, input: Input, now: DateTime<Utc>) {
    let fact = match input {
        Input::Cancellation => {
            let outcome = cancel_order::cancel_order(work, ORDER, TraceContext::default(), now);
            assert!(matches!(outcome, Ok(_) | Err(WorkError::Refused(Refusal::AlreadyConfirmed))));
            return;
        }
        Input::Deadline => {
            expire_orders::expire_orders(work, &[ORDER], at(900).max(now)).unwrap();
            return;
        }
        Input::StockReserved => Fact::StockReserved { reservation_id: Uuid::from_u128(3) },
        Input::StockRejected => Fact::StockRejected { shortages: Vec::new() },
        Input::PaymentCompleted => {
            Fact::PaymentCompleted { payment_id: PAYMENT, amount_minor: 2_550, currency: "GBP".to_owned() }
        }
        Input::PaymentDeclined => Fact::PaymentDeclined { payment_id: PAYMENT, reason: "no".to_owned() },
    };
    record_fact::record_fact(work, ORDER, fact, &cause(), now).unwrap();
}

/// The end that an input brings about when it comes first; none if it ends nothing.
fn end_of(input: Input) -> Option<Result<(), CancellationReason>> {
    match input {
        Input::StockReserved => None,
        Input::StockRejected => Some(Err(CancellationReason::OutOfStock)),
        Input::PaymentCompleted => Some(Ok(())),
        Input::PaymentDeclined => Some(Err(CancellationReason::PaymentDeclined)),
        Input::Cancellation => Some(Err(CancellationReason::CustomerRequest)),
        Input::Deadline => Some(Err(CancellationReason::TimedOut)),
    }
}

/// Runs one order of arrival and checks everything that must hold after any.
fn check(arrivals: &[Input]) {
    let mut work = placed();
    for (input, second) in arrivals.iter().zip(1..) {
        apply(&mut work, *input, at(second));
    }
    let order = work.stream(ORDER).unwrap().order.clone();
    let first_end = arrivals.iter().find_map(|input| end_of(*input));
    let end = match &order {
        Order::Unplaced => panic!("{arrivals:?}: lost"),
        Order::Placed { .. } => None,
        Order::Confirmed { .. } => Some(Ok(())),
        Order::Cancelled { reason, .. } => Some(Err(*reason)),
    };
    assert_eq!(end, first_end, "{arrivals:?}: the first ends it");
    let facts = order.facts();
    assert_eq!(facts.stock_rejected, arrivals.contains(&Input::StockRejected), "{arrivals:?}");
    assert_eq!(facts.payment_declined, arrivals.contains(&Input::PaymentDeclined), "{arrivals:?}");
    assert_eq!(facts.payment_id.is_some(), arrivals.contains(&Input::PaymentCompleted), "{arrivals:?}");
    assert_eq!(facts.reservation_id.is_some(), arrivals.contains(&Input::StockReserved), "{arrivals:?}");
    check_outcome(work.finish(), &order, end.is_some(), arrivals);
}

fn check_outcome(outcome: Outcome, order: &Order, ended: bool, arrivals: &[Input]) {
    let [head] = outcome.heads.as_slice() else { panic!("{arrivals:?}: one head") };
    let dispatched = outcome.dispatched;
    let published: Vec<_> =
        dispatched.publisher.published.iter().map(|publication| &publication.event).collect();
    match published.as_slice() {
        [AnyEvent::OrderPlaced(_)] => assert!(!ended, "{arrivals:?}: an end is published"),
        [AnyEvent::OrderPlaced(_), AnyEvent::OrderConfirmed(_) | AnyEvent::OrderCancelled(_)] => {
            assert!(ended, "{arrivals:?}: only an end is published");
        }
        other => panic!("{arrivals:?}: published {other:?}"),
    }
    let sequences: Vec<_> = published.iter().map(|event| event.sequence()).collect();
    assert_eq!(sequences, (1..=head.last_sequence).collect::<Vec<_>>(), "{arrivals:?}: contiguous");
    let versions: Vec<_> = dispatched.journal.iter().map(|recorded| recorded.version).collect();
    assert_eq!(versions, (1..=head.version).collect::<Vec<_>>(), "{arrivals:?}: contiguous");
    assert!(dispatched.journal.is_sorted_by_key(|recorded| recorded.occurred_at), "{arrivals:?}: in time");
    let stream = dispatched.journal.iter().map(|recorded| (&recorded.event, recorded.occurred_at));
    let last = replay(ORDER, stream).unwrap().pop().unwrap();
    assert_eq!(Some(&last.progress), Progress::of(order).as_ref(), "{arrivals:?}: replay tells the state");
    assert_eq!(dispatched.projection.changes[&ORDER].progress, last.progress, "{arrivals:?}");
    let deadline = dispatched.deadlines.changes[&ORDER];
    assert_eq!(deadline == DeadlineChange::Cleared, ended, "{arrivals:?}: a deadline for open orders only");
}

/// Calls `visit` with every distinct order of `inputs` (sorted before); the next permutation by Knuth's algorithm L.
fn every_order(mut inputs: Vec<Input>, mut visit: impl FnMut(&[Input])) -> usize {
    inputs.sort_unstable();
    let mut count = 0;
    loop {
        visit(&inputs);
        count += 1;
        let Some(i) = inputs.windows(2).rposition(|pair| pair[0] < pair[1]) else { return count };
        let j = inputs.iter().rposition(|input| *input > inputs[i]).unwrap();
        inputs.swap(i, j);
        inputs[i + 1..].reverse();
    }
}

#[test]
fn the_first_end_wins_in_every_order_of_arrival_with_everything_doubled() {
    let doubled = [ENDERS, ENDERS].concat();
    let count = every_order(doubled, check);
    println!("{count} orders of arrival");
    assert_eq!(count, 113_400);
}

#[test]
fn a_reservation_may_come_at_any_time() {
    let mut count = 0;
    for left_out in ENDERS {
        let kept = ENDERS.into_iter().filter(|input| *input != left_out);
        let inputs = kept.chain([Input::StockReserved, Input::StockReserved]).collect();
        count += every_order(inputs, check);
    }
    println!("{count} orders of arrival");
    assert_eq!(count, 5 * 360);
}

proptest! {
    #[test]
    fn any_sequence_of_inputs_has_at_most_one_end(arrivals in prop::collection::vec(
        prop::sample::select(vec![
            Input::StockReserved,
            Input::StockRejected,
            Input::PaymentCompleted,
            Input::PaymentDeclined,
            Input::Cancellation,
            Input::Deadline,
        ]),
        0..30,
    )) {
        check(&arrivals);
    }
}

#[test]
fn a_clock_that_goes_back_does_not_reorder_a_stream() {
    let mut work = placed();
    apply(&mut work, Input::PaymentCompleted, at(-60));
    let head = work.stream(ORDER).unwrap();
    assert_eq!(head.updated_at, at(0));
}
