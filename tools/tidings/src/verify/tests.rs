//! A small consistent system, and one corruption after the other: each must be named by its guarantee.

use std::collections::BTreeMap;
use std::fmt::Display;

use chrono::{DateTime, Utc};
use contracts::order::{CancellationReason, OrderCancelled, OrderConfirmed, OrderLine, OrderPlaced};
use contracts::payment::{PaymentCompleted, PaymentDeclined, PaymentRefunded};
use contracts::reservation::{ReservedLine, StockRejected, StockReleased, StockReserved};
use contracts::stock::StockReplenished;
use contracts::topics::Topics;
use contracts::{AnyEvent, Topic};
use uuid::Uuid;

use super::case::Case;
use super::checks::{Parked, check};
use super::history::{History, Place, Range, Seen, Unreadable};
use super::report::{Guarantee, Report, Standing};
use super::snapshot::{
    Analytics, Delivery, LedgerRow, OrderRow, OutboxRow, ParkedRow, PaymentRow, Snapshot, StockRow,
};
use super::subscriptions;
use crate::services::ServiceName;

const CONFIRMED: Uuid = Uuid::from_u128(0xc0);
const OUT_OF_STOCK: Uuid = Uuid::from_u128(0x50);
const DECLINED: Uuid = Uuid::from_u128(0xd0);
const REFUNDED: Uuid = Uuid::from_u128(0xf0);
const PRICE_MINOR: i64 = 250;

struct System {
    topics: Topics,
    history: History,
    snapshot: Snapshot,
    ids: u128,
}

fn event_time() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_700_000_000_000_000).unwrap()
}

fn payment_id(order_id: Uuid) -> Uuid {
    Uuid::from_u128(order_id.as_u128() + 1)
}

fn lines(quantity: i64) -> Vec<ReservedLine> {
    vec![ReservedLine { sku: "TEAPOT".into(), quantity }]
}

impl System {
    fn new() -> Self {
        let mut system = Self {
            topics: Topics::default(),
            history: History::default(),
            snapshot: Snapshot::default(),
            ids: 0x1000,
        };
        for service in ServiceName::ALL {
            system.snapshot.delivery.insert(service, Delivery::default());
        }
        system.replenish(10);
        system.confirmed();
        system.out_of_stock();
        system.declined();
        system.refunded();
        system.snapshot.stock =
            vec![StockRow { sku: "TEAPOT".into(), replenished: 10, available: 8, reserved: 0, committed: 2 }];
        system.snapshot.analytics = Analytics {
            funnel: BTreeMap::from([
                ("placed".into(), 4),
                ("reserved".into(), 3),
                ("paid".into(), 2),
                ("confirmed".into(), 1),
                ("cancelled_out_of_stock".into(), 1),
                ("cancelled_payment_declined".into(), 1),
                ("cancelled_customer_request".into(), 1),
            ]),
            revenue: BTreeMap::from([("GBP".into(), (1, 2, 2 * PRICE_MINOR))]),
            sales: BTreeMap::from([("GBP TEAPOT".into(), (2, 2 * PRICE_MINOR))]),
            alerts: BTreeMap::new(),
        };
        system
    }

    fn id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }

    /// Publishes an event: on its topic, finished in its service's outbox, applied by every subscriber.
    fn publish(&mut self, service: ServiceName, event: AnyEvent) {
        let topic = event.topic();
        let range = self.history.ranges.entry((topic, 0)).or_insert(Range { low: 0, high: 0 });
        let place = Place { topic, partition: 0, offset: range.high };
        range.high += 1;
        let next = range.high;
        let name = self.topics.name(topic);
        let row = OutboxRow {
            event_id: event.event_id(),
            topic: name.clone(),
            key: event.key(),
            sequence: event.sequence(),
            is_finished: true,
        };
        self.delivery(service).outbox.push(row);
        for subscriber in ServiceName::ALL {
            if subscriptions::topics(subscriber).contains(&topic) {
                self.delivery(subscriber).positions.insert((name.clone(), 0), next);
            }
            if subscriptions::of(subscriber).contains(&event.event_type()) {
                self.delivery(subscriber).inbox.insert(event.event_id());
            }
        }
        self.history.seen.push(Seen { place, event });
    }

    fn delivery(&mut self, service: ServiceName) -> &mut Delivery {
        self.snapshot.delivery.get_mut(&service).unwrap()
    }

    fn replenish(&mut self, quantity: i64) {
        let event = StockReplenished {
            event_id: self.id(),
            occurred_at: event_time(),
            sku: "TEAPOT".into(),
            sequence: 1,
            quantity,
            available: quantity,
            threshold: 1,
        };
        self.publish(ServiceName::Inventory, AnyEvent::StockReplenished(event));
    }

    fn placed(&mut self, order_id: Uuid, quantity: i64, end: (&str, Option<&str>)) {
        let event = OrderPlaced {
            event_id: self.id(),
            occurred_at: event_time(),
            order_id,
            sequence: 1,
            customer_id: "c-1".into(),
            lines: vec![OrderLine { sku: "TEAPOT".into(), quantity, unit_price_minor: PRICE_MINOR }],
            total_minor: quantity * PRICE_MINOR,
            payment_method: "tok_visa".into(),
            recipient: None,
            currency: "GBP".into(),
        };
        self.publish(ServiceName::Order, AnyEvent::OrderPlaced(event));
        self.snapshot.orders.push(OrderRow {
            order_id,
            status: end.0.into(),
            reason: end.1.map(Into::into),
            currency: "GBP".into(),
            total_minor: quantity * PRICE_MINOR,
            published_sequence: 2,
        });
    }

    fn cancelled(&mut self, order_id: Uuid, reason: CancellationReason) {
        let event = OrderCancelled {
            event_id: self.id(),
            occurred_at: event_time(),
            order_id,
            sequence: 2,
            reason,
            detail: None,
        };
        self.publish(ServiceName::Order, AnyEvent::OrderCancelled(event));
    }

    fn reserved(&mut self, order_id: Uuid, quantity: i64) {
        let event = StockReserved {
            event_id: self.id(),
            occurred_at: event_time(),
            order_id,
            sequence: 1,
            reservation_id: order_id,
            lines: lines(quantity),
        };
        self.publish(ServiceName::Inventory, AnyEvent::StockReserved(event));
    }

    fn released(&mut self, order_id: Uuid, quantity: i64) {
        let event = StockReleased {
            event_id: self.id(),
            occurred_at: event_time(),
            order_id,
            sequence: 2,
            reservation_id: order_id,
            lines: lines(quantity),
        };
        self.publish(ServiceName::Inventory, AnyEvent::StockReleased(event));
    }

    fn paid(&mut self, order_id: Uuid, amount_minor: i64) {
        let event = PaymentCompleted {
            event_id: self.id(),
            occurred_at: event_time(),
            order_id,
            sequence: 1,
            payment_id: payment_id(order_id),
            amount_minor,
            currency: "GBP".into(),
            transaction_id: "t".into(),
        };
        self.publish(ServiceName::Payment, AnyEvent::PaymentCompleted(event));
        for step in ["authorize", "check_fraud", "capture"] {
            self.moved(order_id, step, amount_minor);
        }
    }

    fn moved(&mut self, order_id: Uuid, step: &str, amount_minor: i64) {
        self.snapshot.ledger.push(LedgerRow {
            payment_id: payment_id(order_id),
            step: step.into(),
            amount_minor,
            currency: "GBP".into(),
        });
    }

    fn stored(&mut self, order_id: Uuid, reservation: &str, payment: &str) {
        self.snapshot.reservations.push((order_id, reservation.into()));
        let payment_id = payment_id(order_id);
        self.snapshot.payments.push(PaymentRow { order_id, payment_id, state: payment.into() });
    }

    fn confirmed(&mut self) {
        self.placed(CONFIRMED, 2, ("confirmed", None));
        self.reserved(CONFIRMED, 2);
        self.paid(CONFIRMED, 2 * PRICE_MINOR);
        let event = OrderConfirmed {
            event_id: self.id(),
            occurred_at: event_time(),
            order_id: CONFIRMED,
            sequence: 2,
            payment_id: payment_id(CONFIRMED),
        };
        self.publish(ServiceName::Order, AnyEvent::OrderConfirmed(event));
        self.stored(CONFIRMED, "committed", "completed");
    }

    fn out_of_stock(&mut self) {
        self.placed(OUT_OF_STOCK, 99, ("cancelled", Some("out_of_stock")));
        let event = StockRejected {
            event_id: self.id(),
            occurred_at: event_time(),
            order_id: OUT_OF_STOCK,
            sequence: 1,
            shortages: Vec::new(),
        };
        self.publish(ServiceName::Inventory, AnyEvent::StockRejected(event));
        self.cancelled(OUT_OF_STOCK, CancellationReason::OutOfStock);
        self.stored(OUT_OF_STOCK, "rejected", "cancelled");
    }

    fn declined(&mut self) {
        self.placed(DECLINED, 1, ("cancelled", Some("payment_declined")));
        self.reserved(DECLINED, 1);
        let event = PaymentDeclined {
            event_id: self.id(),
            occurred_at: event_time(),
            order_id: DECLINED,
            sequence: 1,
            payment_id: payment_id(DECLINED),
            amount_minor: PRICE_MINOR,
            currency: "GBP".into(),
            reason: "fraud".into(),
        };
        self.publish(ServiceName::Payment, AnyEvent::PaymentDeclined(event));
        self.cancelled(DECLINED, CancellationReason::PaymentDeclined);
        self.released(DECLINED, 1);
        self.stored(DECLINED, "released", "declined");
    }

    fn refunded(&mut self) {
        self.placed(REFUNDED, 3, ("cancelled", Some("customer_request")));
        self.reserved(REFUNDED, 3);
        self.cancelled(REFUNDED, CancellationReason::CustomerRequest);
        self.paid(REFUNDED, 3 * PRICE_MINOR);
        self.released(REFUNDED, 3);
        let event = PaymentRefunded {
            event_id: self.id(),
            occurred_at: event_time(),
            order_id: REFUNDED,
            sequence: 2,
            payment_id: payment_id(REFUNDED),
            refund_id: REFUNDED,
            amount_minor: 3 * PRICE_MINOR,
            currency: "GBP".into(),
        };
        self.publish(ServiceName::Payment, AnyEvent::PaymentRefunded(event));
        self.moved(REFUNDED, "refund", 3 * PRICE_MINOR);
        self.stored(REFUNDED, "released", "refunded");
    }

    fn verify(&self) -> Report {
        check(&Case::new(&self.topics, &self.history, &self.snapshot), Parked::Unexpected)
    }

    /// Takes the events away that `is_lost` names, as if they had never reached the topic.
    fn lose(&mut self, is_lost: impl Fn(&AnyEvent) -> bool) {
        self.history.seen.retain(|seen| !is_lost(&seen.event));
    }

    fn event_mut(&mut self, wanted: impl Fn(&AnyEvent) -> bool) -> &mut AnyEvent {
        &mut self.history.seen.iter_mut().find(|seen| wanted(&seen.event)).unwrap().event
    }
}

fn is_of(event: &AnyEvent, topic: Topic, order_id: Uuid, sequence: i64) -> bool {
    event.topic() == topic && event.key() == order_id.to_string() && event.sequence() == sequence
}

/// The corruption is a violation of `guarantee`, and its finding names `id`.
#[track_caller]
fn is_named(guarantee: Guarantee, id: impl Display, corrupt: impl FnOnce(&mut System)) {
    let id = id.to_string();
    let mut system = System::new();
    corrupt(&mut system);
    let report = system.verify();
    let verdict = report.verdict(guarantee).unwrap();
    assert_eq!(verdict.standing, Standing::Violated, "{report}");
    assert!(verdict.violations.first.iter().any(|finding| finding.contains(&id)), "{report}");
    assert!(!report.holds());
}

#[test]
fn a_consistent_system_holds_every_guarantee() {
    let report = System::new().verify();
    assert!(report.holds(), "{report}");
}

#[test]
fn g1_names_an_order_that_is_not_on_the_topic_or_differs_from_it() {
    is_named(Guarantee::G1, CONFIRMED, |s| s.lose(|event| is_of(event, Topic::Orders, CONFIRMED, 1)));
    is_named(Guarantee::G1, CONFIRMED, |s| s.lose(|event| is_of(event, Topic::Orders, CONFIRMED, 2)));
    is_named(Guarantee::G1, CONFIRMED, |s| s.snapshot.orders[0].total_minor += 1);
    is_named(Guarantee::G1, REFUNDED, |s| s.snapshot.orders[3].reason = Some("timed_out".into()));
    is_named(Guarantee::G1, DECLINED, |s| s.snapshot.orders.retain(|row| row.order_id != DECLINED));
    // Nothing but its row tells of it: an outbox forgets what was finished long ago.
    let forgotten = Uuid::from_u128(0xab);
    is_named(Guarantee::G1, forgotten, |s| {
        let row = OrderRow { order_id: forgotten, ..s.snapshot.orders[0].clone() };
        s.snapshot.orders.push(row);
    });
}

#[test]
fn g1_names_an_event_that_a_relay_finished_without_publishing_it() {
    let lost = System::new().delivery(ServiceName::Inventory).outbox[1].event_id;
    is_named(Guarantee::G1, lost, |s| s.lose(|event| event.event_id() == lost));
    is_named(Guarantee::G1, "tidings.stock TEAPOT", |s| {
        s.delivery(ServiceName::Inventory)
            .stopped_keys
            .push("tidings.stock TEAPOT (refused): too large".into());
    });
}

#[test]
fn g2_names_gaps_inversions_and_repetitions_that_differ() {
    is_named(Guarantee::G2, CONFIRMED, |s| s.lose(|event| is_of(event, Topic::Orders, CONFIRMED, 1)));
    is_named(Guarantee::G2, REFUNDED, |s| {
        let indexes: Vec<usize> = (0..s.history.seen.len())
            .filter(|&i| {
                let event = &s.history.seen[i].event;
                is_of(event, Topic::Payments, REFUNDED, 1) || is_of(event, Topic::Payments, REFUNDED, 2)
            })
            .collect();
        s.history.seen.swap(indexes[0], indexes[1]);
    });
    is_named(Guarantee::G2, CONFIRMED, |s| {
        let mut twin = s
            .history
            .seen
            .iter()
            .find(|seen| is_of(&seen.event, Topic::Orders, CONFIRMED, 1))
            .unwrap()
            .clone();
        twin.place.partition = 3;
        if let AnyEvent::OrderPlaced(event) = &mut twin.event {
            event.event_id = Uuid::from_u128(0x9999);
        }
        s.history.seen.push(twin);
    });
    let changed = System::new().history.seen[1].event.event_id();
    is_named(Guarantee::G2, changed, |s| {
        let mut again = s.history.seen[1].clone();
        if let AnyEvent::OrderPlaced(event) = &mut again.event {
            event.total_minor += 1;
        }
        s.history.seen.push(again);
    });
}

#[test]
fn a_repeated_delivery_violates_nothing() {
    let mut system = System::new();
    let again = system.history.seen.clone();
    system.history.seen.extend(again);
    let report = system.verify();
    assert!(report.holds(), "{report}");
}

#[test]
fn g3_names_stored_effects_that_the_topics_do_not_imply() {
    is_named(Guarantee::G3, "TEAPOT", |s| {
        s.snapshot.stock[0].committed += 1;
        s.snapshot.stock[0].available -= 1;
    });
    is_named(Guarantee::G3, REFUNDED, |s| s.snapshot.reservations[3].1 = "reserved".into());
    is_named(Guarantee::G3, DECLINED, |s| s.snapshot.payments[2].state = "completed".into());
    is_named(Guarantee::G3, CONFIRMED, |s| s.moved(CONFIRMED, "refund", 2 * PRICE_MINOR));
    is_named(Guarantee::G3, payment_id(CONFIRMED), |s| s.moved(CONFIRMED, "capture", 2 * PRICE_MINOR));
    is_named(Guarantee::G3, CONFIRMED, |s| s.snapshot.mails.push((CONFIRMED, "order_confirmed".into())));
    is_named(Guarantee::G3, "GBP", |s| s.snapshot.analytics.revenue.get_mut("GBP").unwrap().2 += 1);
    is_named(Guarantee::G3, "TEAPOT", |s| s.snapshot.analytics.sales.get_mut("GBP TEAPOT").unwrap().0 *= 2);
    is_named(Guarantee::G3, "TEAPOT", |s| {
        s.snapshot.analytics.alerts.insert("TEAPOT".into(), 1);
    });
    is_named(Guarantee::G3, "placed", |s| *s.snapshot.analytics.funnel.get_mut("placed").unwrap() += 1);
}

#[test]
fn g3_names_published_effects_that_contradict_each_other() {
    is_named(Guarantee::G3, CONFIRMED, |s| s.reserved(CONFIRMED, 2));
    is_named(Guarantee::G3, CONFIRMED, |s| s.released(CONFIRMED, 2));
    is_named(Guarantee::G3, REFUNDED, |s| s.lose(|event| is_of(event, Topic::Payments, REFUNDED, 2)));
    is_named(Guarantee::G3, REFUNDED, |s| s.lose(|event| is_of(event, Topic::Reservations, REFUNDED, 2)));
    is_named(Guarantee::G3, CONFIRMED, |s| {
        if let AnyEvent::PaymentCompleted(event) =
            s.event_mut(|event| is_of(event, Topic::Payments, CONFIRMED, 1))
        {
            event.amount_minor += 1;
        }
    });
    is_named(Guarantee::G3, CONFIRMED, |s| {
        if let AnyEvent::StockReserved(event) =
            s.event_mut(|event| is_of(event, Topic::Reservations, CONFIRMED, 1))
        {
            event.lines = lines(1);
        }
    });
}

#[test]
fn g4_names_orders_with_two_ends_and_books_that_do_not_balance() {
    is_named(Guarantee::G4, CONFIRMED, |s| s.cancelled(CONFIRMED, CancellationReason::CustomerRequest));
    is_named(Guarantee::G4, "TEAPOT", |s| s.snapshot.stock[0].available += 1);
    is_named(Guarantee::G4, "GBP", |s| s.moved(CONFIRMED, "refund", 2 * PRICE_MINOR));
    is_named(Guarantee::G4, "GBP", |s| s.snapshot.ledger.retain(|row| row.step != "capture"));
}

#[test]
fn g5_names_events_that_a_service_passed_without_a_trace() {
    let event_id = System::new().history.seen[1].event.event_id();
    for service in
        [ServiceName::Inventory, ServiceName::Payment, ServiceName::Notification, ServiceName::Analytics]
    {
        is_named(Guarantee::G5, event_id, |s| assert!(s.delivery(service).inbox.remove(&event_id)));
    }
    is_named(Guarantee::G5, "orders/0@7", |s| {
        let range = s.history.ranges.get_mut(&(Topic::Orders, 0)).unwrap();
        let place = Place { topic: Topic::Orders, partition: 0, offset: range.high - 1 };
        s.history.unreadable.push(Unreadable { place, claimed_type: None, reason: "no value".into() });
    });
}

#[test]
fn g5_names_parked_events_where_none_are_expected_and_lists_them_apart_where_some_are() {
    let park = |s: &mut System| {
        let row = ParkedRow {
            topic: "tidings.orders".into(),
            partition: 0,
            offset: 1,
            key: CONFIRMED.to_string(),
            event_id: None,
            reason: "malformed".into(),
        };
        s.delivery(ServiceName::Payment).parked.push(row);
    };
    is_named(Guarantee::G5, CONFIRMED, park);
    let mut system = System::new();
    park(&mut system);
    let report = check(&Case::new(&system.topics, &system.history, &system.snapshot), Parked::Listed);
    assert!(report.holds(), "{report}");
    assert!(report.set_apart.first[0].contains(&CONFIRMED.to_string()));
}

#[test]
fn what_cannot_be_checked_is_no_success() {
    let mut truncated = System::new();
    truncated.history.ranges.get_mut(&(Topic::Orders, 0)).unwrap().low = 1;
    let mut behind = System::new();
    behind.delivery(ServiceName::Analytics).positions.insert(("tidings.orders".into(), 0), 3);
    let mut waiting = System::new();
    waiting.delivery(ServiceName::Order).outbox[0].is_finished = false;
    let mut due = System::new();
    due.snapshot.unfinished.push(("payments have a step to do", 1));
    for system in [truncated, behind, waiting, due] {
        let report = system.verify();
        assert!(!report.holds(), "{report}");
        assert!(report.verdicts.iter().all(|verdict| verdict.standing != Standing::Violated), "{report}");
    }
}
