//! Every order of arrival of what can end an order, in memory: one end, the first one's, and a published sequence
//! without a gap.

use chrono::{DateTime, TimeDelta, Utc};
use contracts::{AnyEvent, Cause, TraceContext};
use futures::FutureExt;
use order::adapters::contract::announce;
use order::application::cancel_order::cancel_order;
use order::application::expire_orders::expire_orders;
use order::application::{
    Answer, CustomerKey, DeadlineChange, Outcome, PlaceOutcome, Placing, Recorded, Stream, Transaction,
    ViewChange, Work, WorkError, place_order,
};
use order::domain::{
    CancellationReason, CurrencyCode, CustomerId, Fact, Line, Order, OrderId, PaymentMethod, Placement,
    Progress, Quantity, Refusal, Sku, UnitPrice, react, replay,
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

fn cause() -> Cause {
    Cause {
        correlation_id: Uuid::from_u128(2),
        causation_id: None,
        user_id: None,
        trace: TraceContext::default(),
    }
}

/// The tables of a service that has one order.
#[derive(Debug, Default)]
struct Tables {
    head: Option<Stream>,
    journal: Vec<Recorded>,
    published: Vec<AnyEvent>,
    progress: Option<Progress>,
    deadline: Option<DateTime<Utc>>,
}

/// A transaction on them: what it stores is there once it is committed.
#[derive(Debug)]
struct InMemory<'a> {
    tables: &'a mut Tables,
    stored: Option<Outcome>,
}

impl Transaction for InMemory<'_> {
    type Error = WorkError;
    type Prepared = Outcome;

    async fn lock(&mut self, _: &[OrderId]) -> Result<Work, WorkError> {
        Ok(Work::new(self.tables.head.iter().cloned().collect()))
    }

    /// All of them, also those that have ended meanwhile.
    async fn still_due(
        &mut self,
        order_ids: &[OrderId],
        _: DateTime<Utc>,
        _: TimeDelta,
    ) -> Result<Vec<OrderId>, WorkError> {
        Ok(order_ids.to_vec())
    }

    async fn remember(
        &mut self,
        placings: &[Placing<Outcome>],
    ) -> Result<Vec<Option<PlaceOutcome>>, WorkError> {
        Ok(placings.iter().map(|_| None).collect())
    }

    async fn store_prepared(&mut self, prepared: &[&Outcome]) -> Result<(), WorkError> {
        self.stored = prepared.first().copied().cloned();
        Ok(())
    }

    async fn store(&mut self, outcome: Outcome) -> Result<(), WorkError> {
        self.stored = Some(outcome);
        Ok(())
    }

    async fn clear_deadlines(&mut self, order_ids: &[OrderId]) -> Result<(), WorkError> {
        if order_ids.contains(&ORDER) {
            self.tables.deadline = None;
        }
        Ok(())
    }

    async fn commit(self) -> Result<(), WorkError> {
        let mut outcome = self.stored.unwrap();
        let announced = announce(&mut outcome);
        self.tables.published.extend(announced.publications.into_iter().map(|published| published.event));
        self.tables.head = outcome.heads.pop().or(self.tables.head.take());
        self.tables.journal.extend(outcome.changes.journal);
        match outcome.changes.views.remove(&ORDER) {
            Some(ViewChange::Placed(view)) => self.tables.progress = Some(view.progress),
            Some(ViewChange::Progressed { progress, .. }) => self.tables.progress = Some(progress),
            None => {}
        }
        match outcome.changes.deadlines.remove(&ORDER) {
            Some(DeadlineChange::Set(due_at)) => self.tables.deadline = Some(due_at),
            Some(DeadlineChange::Cleared) => self.tables.deadline = None,
            None => {}
        }
        Ok(())
    }
}

/// Runs a use case to its end.
fn run<T>(use_case: impl Future<Output = T>) -> T {
    use_case.now_or_never().expect("memory keeps nobody waiting")
}

fn begin(tables: &mut Tables) -> InMemory<'_> {
    InMemory { tables, stored: None }
}

/// An order of one line.
pub(crate) fn placement(customer_id: &str, quantity: i64, unit_price_minor: i64) -> Placement {
    let line = Line {
        sku: Sku::try_new("22423").unwrap(),
        quantity: Quantity::try_new(quantity).unwrap(),
        unit_price_minor: UnitPrice::try_new(unit_price_minor).unwrap(),
    };
    Placement::try_new(
        CustomerId::try_new(customer_id).unwrap(),
        CurrencyCode::try_new("GBP").unwrap(),
        vec![line],
        PaymentMethod::try_new("tok_visa").unwrap(),
        None,
    )
    .unwrap()
}

fn placed() -> Tables {
    let placement = placement("12345", 2, 1_275);
    let customer_id = placement.customer_id.clone();
    let (view, prepared) =
        place_order::prepare(ORDER, placement, TimeDelta::minutes(15), &cause(), at(0)).unwrap();
    let key = CustomerKey { customer_id, key: "key".to_owned() };
    let answer = Answer { status_code: 202, etag: String::new(), body: String::new() };
    let placing = Placing { key, order_id: ORDER, request: view.placement, answer, prepared };
    let mut tables = Tables::default();
    let outcome = run(place_order::place_orders(begin(&mut tables), &[placing]));
    assert_eq!(outcome, Ok(vec![PlaceOutcome::Placed]));
    tables
}

fn apply(tables: &mut Tables, input: Input, now: DateTime<Utc>) {
    let fact = match input {
        Input::Cancellation => {
            let outcome = run(cancel_order(begin(tables), ORDER, TraceContext::default(), now));
            assert!(matches!(outcome, Ok(()) | Err(WorkError::Refused(Refusal::AlreadyConfirmed))));
            return;
        }
        Input::Deadline => {
            let (now, grace) = (at(900).max(now), TimeDelta::zero());
            run(expire_orders(begin(tables), &[ORDER], now, grace)).unwrap();
            return;
        }
        Input::StockReserved => Fact::StockReserved { reservation_id: Uuid::from_u128(3) },
        Input::StockRejected => Fact::StockRejected { shortages: Vec::new() },
        Input::PaymentCompleted => {
            Fact::PaymentCompleted { payment_id: PAYMENT, amount_minor: 2_550, currency: "GBP".to_owned() }
        }
        Input::PaymentDeclined => Fact::PaymentDeclined { payment_id: PAYMENT, reason: "no".to_owned() },
    };
    // The steps of a batch.
    let mut transaction = begin(tables);
    let mut work = run(transaction.lock(&[ORDER])).unwrap();
    work.apply(ORDER, |order| react(order, fact), &cause(), now).unwrap();
    run(transaction.store(work.finish())).unwrap();
    run(transaction.commit()).unwrap();
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
    let mut tables = placed();
    for (input, second) in arrivals.iter().zip(1..) {
        apply(&mut tables, *input, at(second));
    }
    let head = tables.head.as_ref().unwrap();
    let first_end = arrivals.iter().find_map(|input| end_of(*input));
    let end = match &head.order {
        Order::Unplaced => panic!("{arrivals:?}: lost"),
        Order::Placed { .. } => None,
        Order::Confirmed { .. } => Some(Ok(())),
        Order::Cancelled { reason, .. } => Some(Err(*reason)),
    };
    assert_eq!(end, first_end, "{arrivals:?}: the first ends it");
    let facts = head.order.facts();
    assert_eq!(facts.stock_rejected, arrivals.contains(&Input::StockRejected), "{arrivals:?}");
    assert_eq!(facts.payment_declined, arrivals.contains(&Input::PaymentDeclined), "{arrivals:?}");
    assert_eq!(facts.payment_id.is_some(), arrivals.contains(&Input::PaymentCompleted), "{arrivals:?}");
    assert_eq!(facts.reservation_id.is_some(), arrivals.contains(&Input::StockReserved), "{arrivals:?}");
    check_tables(&tables, head, end.is_some(), arrivals);
}

fn check_tables(tables: &Tables, head: &Stream, ended: bool, arrivals: &[Input]) {
    match tables.published.as_slice() {
        [AnyEvent::OrderPlaced(_)] => assert!(!ended, "{arrivals:?}: an end is published"),
        [AnyEvent::OrderPlaced(_), AnyEvent::OrderConfirmed(_) | AnyEvent::OrderCancelled(_)] => {
            assert!(ended, "{arrivals:?}: only an end is published");
        }
        other => panic!("{arrivals:?}: published {other:?}"),
    }
    let sequences: Vec<_> = tables.published.iter().map(AnyEvent::sequence).collect();
    assert_eq!(sequences, (1..=head.last_event.sequence).collect::<Vec<_>>(), "{arrivals:?}: contiguous");
    let versions: Vec<_> = tables.journal.iter().map(|recorded| recorded.version).collect();
    assert_eq!(versions, (1..=head.version).collect::<Vec<_>>(), "{arrivals:?}: contiguous");
    assert!(tables.journal.is_sorted_by_key(|recorded| recorded.occurred_at), "{arrivals:?}: in time");
    let stream = tables.journal.iter().map(|recorded| (&recorded.event, recorded.occurred_at));
    let last = replay(ORDER, stream).unwrap().pop().unwrap();
    assert_eq!(
        Some(&last.progress),
        Progress::of(&head.order).as_ref(),
        "{arrivals:?}: replay tells the state"
    );
    assert_eq!(tables.progress.as_ref(), Some(&last.progress), "{arrivals:?}");
    assert_eq!(tables.deadline.is_none(), ended, "{arrivals:?}: a deadline for open orders only");
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
    let mut tables = placed();
    apply(&mut tables, Input::PaymentCompleted, at(-60));
    assert_eq!(tables.head.unwrap().updated_at, at(0));
}

#[test]
fn a_refused_command_stores_nothing() {
    let mut tables = placed();
    apply(&mut tables, Input::PaymentCompleted, at(1));
    let versions = tables.journal.len();
    let refused = run(cancel_order(begin(&mut tables), ORDER, TraceContext::default(), at(2)));
    assert_eq!(refused, Err(WorkError::Refused(Refusal::AlreadyConfirmed)));
    assert_eq!(tables.journal.len(), versions);
}
