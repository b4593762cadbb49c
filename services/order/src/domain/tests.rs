//! Given / when / then of a single order.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::*;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn placement() -> Placement {
    let line = Line {
        sku: Sku::try_new("85123A").unwrap(),
        quantity: Quantity::try_new(6).unwrap(),
        unit_price_minor: UnitPrice::try_new(255).unwrap(),
    };
    Placement::try_new(
        CustomerId::try_new("17850").unwrap(),
        CurrencyCode::try_new("GBP").unwrap(),
        vec![line],
        PaymentMethod::try_new("tok_visa").unwrap(),
        None,
    )
    .unwrap()
}

fn placed() -> Vec<OrderEvent> {
    vec![OrderEvent::OrderPlaced(Box::new(placement())), OrderEvent::DeadlineScheduled { due_at: at(900) }]
}

fn paid(payment: u128) -> Fact {
    Fact::PaymentCompleted { payment_id: id(payment), amount_minor: 1_530, currency: "GBP".to_owned() }
}

fn declined() -> Fact {
    Fact::PaymentDeclined { payment_id: id(1), reason: "card expired".to_owned() }
}

fn out_of_stock() -> Fact {
    let shortage = Shortage { sku: "85123A".to_owned(), requested: 6, available: 2 };
    Fact::StockRejected { shortages: vec![shortage] }
}

fn reserved() -> Fact {
    Fact::StockReserved { reservation_id: id(7) }
}

fn cancelled(reason: CancellationReason, detail: Option<&str>) -> OrderEvent {
    OrderEvent::OrderCancelled { reason, detail: detail.map(str::to_owned) }
}

/// An order after these events.
struct Given(Order);

fn given(events: &[OrderEvent]) -> Given {
    let order = events.iter().fold(Order::Unplaced, |order, event| order.evolve(event, at(0)).unwrap());
    Given(order)
}

fn given_placed_and(events: &[OrderEvent]) -> Given {
    given(&[placed(), events.to_vec()].concat())
}

type Then = Result<Vec<OrderEvent>, Refusal>;

impl Given {
    fn when(&self, command: Command) -> Then {
        decide(&self.0, command, at(10))
    }

    fn when_at(&self, seconds: i64, command: Command) -> Then {
        decide(&self.0, command, at(seconds))
    }

    fn when_received(&self, fact: Fact) -> Then {
        react(&self.0, fact)
    }
}

#[test]
fn a_placed_order_has_a_deadline() {
    let then = given(&[]).when(Command::Place { placement: Box::new(placement()), due_at: at(900) });
    assert_eq!(then, Ok(placed()));
}

#[test]
fn an_order_is_placed_once() {
    let then = given(&placed()).when(Command::Place { placement: Box::new(placement()), due_at: at(900) });
    assert_eq!(then, Err(Refusal::AlreadyPlaced));
}

#[test]
fn a_completed_payment_confirms() {
    let then = given(&placed()).when_received(paid(1));
    assert_eq!(then, Ok(vec![OrderEvent::OrderConfirmed { payment_id: id(1) }]));
}

#[test]
fn a_declined_payment_cancels() {
    let then = given(&placed()).when_received(declined());
    assert_eq!(then, Ok(vec![cancelled(CancellationReason::PaymentDeclined, Some("card expired"))]));
}

#[test]
fn a_shortage_cancels_and_names_what_is_missing() {
    let then = given(&placed()).when_received(out_of_stock());
    let detail = Some("85123A: 6 wanted, 2 available");
    assert_eq!(then, Ok(vec![cancelled(CancellationReason::OutOfStock, detail)]));
}

#[test]
fn many_shortages_are_counted_instead_of_listed() {
    let shortage = Shortage { sku: "S".repeat(64), requested: 1, available: 0 };
    let then = given(&placed()).when_received(Fact::StockRejected { shortages: vec![shortage; 2_000] });
    let Ok([OrderEvent::OrderCancelled { detail: Some(detail), .. }]) = then.as_deref() else {
        panic!("{then:?}");
    };
    assert!(detail.ends_with("; and 1997 more") && detail.len() < 500, "{detail}");
}

#[test]
fn a_reservation_is_progress() {
    let then = given(&placed()).when_received(reserved());
    assert_eq!(then, Ok(vec![OrderEvent::StockReservationRecorded { reservation_id: id(7) }]));
}

#[test]
fn a_customer_may_cancel_an_open_order() {
    let then = given(&placed()).when(Command::Cancel);
    assert_eq!(then, Ok(vec![cancelled(CancellationReason::CustomerRequest, None)]));
}

#[test]
fn cancelling_again_changes_nothing() {
    let cancelled = cancelled(CancellationReason::OutOfStock, None);
    assert_eq!(given_placed_and(&[cancelled]).when(Command::Cancel), Ok(vec![]));
}

#[test]
fn a_confirmed_order_can_not_be_cancelled() {
    let confirmed = OrderEvent::OrderConfirmed { payment_id: id(1) };
    assert_eq!(given_placed_and(&[confirmed]).when(Command::Cancel), Err(Refusal::AlreadyConfirmed));
}

#[test]
fn a_deadline_cancels_only_once_it_has_passed() {
    let order = given(&placed());
    assert_eq!(order.when_at(899, Command::TimeOut), Ok(vec![]));
    let detail = Some("not ended by 2027-01-15T08:15:00Z");
    let timed_out = cancelled(CancellationReason::TimedOut, detail);
    assert_eq!(order.when_at(900, Command::TimeOut), Ok(vec![timed_out]));
}

#[test]
fn a_payment_that_completes_after_the_end_is_recorded_and_changes_nothing() {
    let cancelled = cancelled(CancellationReason::TimedOut, None);
    let then = given_placed_and(std::slice::from_ref(&cancelled)).when_received(paid(1));
    let late = OrderEvent::LatePaymentRecorded { payment_id: id(1) };
    assert_eq!(then, Ok(vec![late.clone()]));
    let before = given_placed_and(std::slice::from_ref(&cancelled)).0;
    let after = given_placed_and(&[cancelled, late]).0;
    assert_eq!(Progress::of(&before), Progress::of(&after));
}

#[test]
fn a_fact_heard_before_leads_to_nothing() {
    for fact in [reserved(), out_of_stock(), paid(1), declined()] {
        let mut order = given(&placed()).0;
        for event in react(&order, fact.clone()).unwrap() {
            order = order.evolve(&event, at(1)).unwrap();
        }
        assert_eq!(react(&order, fact), Ok(vec![]));
    }
}

#[test]
fn a_fact_about_an_unknown_order_is_refused() {
    for fact in [reserved(), out_of_stock(), paid(1), declined()] {
        assert_eq!(given(&[]).when_received(fact), Err(Refusal::UnknownOrder));
    }
}

#[test]
fn a_payment_over_another_amount_is_refused() {
    let short = Fact::PaymentCompleted { payment_id: id(1), amount_minor: 1_529, currency: "GBP".to_owned() };
    let foreign =
        Fact::PaymentCompleted { payment_id: id(1), amount_minor: 1_530, currency: "USD".to_owned() };
    for fact in [short, foreign] {
        let then = given(&placed()).when_received(fact);
        assert_eq!(then.unwrap_err().code(), "wrong_amount");
    }
}

#[test]
fn a_second_payment_is_refused_so_that_somebody_looks_at_it() {
    let confirmed = OrderEvent::OrderConfirmed { payment_id: id(1) };
    let then = given_placed_and(&[confirmed]).when_received(paid(2));
    assert_eq!(then, Err(Refusal::SecondPayment { first: id(1), second: id(2) }));
}

#[test]
fn no_event_fits_an_order_that_has_already_ended() {
    let confirmed = OrderEvent::OrderConfirmed { payment_id: id(1) };
    let order = given_placed_and(std::slice::from_ref(&confirmed)).0;
    let impossible = order.evolve(&confirmed, at(1)).unwrap_err();
    assert_eq!(impossible.to_string(), "OrderConfirmed is impossible for an order that is confirmed");
}

#[test]
fn the_history_tells_every_past_state() {
    let events = [
        placed(),
        vec![
            OrderEvent::StockReservationRecorded { reservation_id: id(7) },
            OrderEvent::OrderConfirmed { payment_id: id(1) },
        ],
    ]
    .concat();
    let timed: Vec<_> = (0..).zip(&events).map(|(n, event)| (event, at(n))).collect();
    let views = replay(OrderId(id(9)), timed).unwrap();
    let stages: Vec<_> = views.iter().map(|view| (view.version, view.progress.stage)).collect();
    assert_eq!(
        stages,
        [(1, Stage::Placed), (2, Stage::Placed), (3, Stage::StockReserved), (4, Stage::Confirmed)]
    );
    assert_eq!(views[3].progress.ended_at, Some(at(3)));
    assert_eq!(views[3].placed_at, at(0));
}

#[test]
fn the_largest_order_allowed_has_a_total_within_64_bits() {
    let line = Line {
        sku: Sku::try_new("A").unwrap(),
        quantity: Quantity::try_new(Quantity::MAX).unwrap(),
        unit_price_minor: UnitPrice::try_new(UnitPrice::MAX_MINOR).unwrap(),
    };
    let Placement { customer_id, currency, payment_method, .. } = placement();
    let place = |lines| {
        Placement::try_new(customer_id.clone(), currency.clone(), lines, payment_method.clone(), None)
    };
    assert_eq!(place(vec![line.clone(); 2_000]).unwrap().total_minor, 2_000_000_000_000_000_000);
    assert!(place(vec![line; 2_001]).is_err());
    assert!(place(Vec::new()).is_err());
}

#[test]
fn values_keep_their_limits() {
    assert!(Quantity::try_new(0).is_err() && Quantity::try_new(1_000_001).is_err());
    assert!(Quantity::try_new(1).is_ok() && Quantity::try_new(1_000_000).is_ok());
    assert!(UnitPrice::try_new(-1).is_err() && UnitPrice::try_new(1_000_000_001).is_err());
    assert!(UnitPrice::try_new(0).is_ok() && UnitPrice::try_new(1_000_000_000).is_ok());
    let long = "x".repeat(64);
    for sku in ["A", "gift_0001_80", "DCGS0066N", "15056BL", "PACKING CHARGE", "ÄÖ-1", long.as_str()] {
        assert!(Sku::try_new(sku).is_ok(), "{sku:?}");
    }
    let too_long = "x".repeat(65);
    for sku in ["", " A", "A ", " ", "A\tB", "A\u{0}", "A\u{200B}B", "A\u{A0}B", too_long.as_str()] {
        assert!(Sku::try_new(sku).is_err(), "{sku:?}");
    }
    for code in ["GBP", "USD", "JPY", "EUR"] {
        assert!(CurrencyCode::try_new(code).is_ok(), "{code}");
    }
    for code in ["gbp", "GB", "GBPP", "ZZZ", ""] {
        assert!(CurrencyCode::try_new(code).is_err(), "{code}");
    }
    for email in ["ada@example.org", "a.b+c@mail.example.co.uk", "joerg@müller.example"] {
        assert!(Email::try_new(email).is_ok(), "{email}");
    }
    for email in ["", "ada", "@example.org", "ada@", "a@b@c", "a b@example.org", "ada@-x.org", "ada@x..org"] {
        assert!(Email::try_new(email).is_err(), "{email}");
    }
}
