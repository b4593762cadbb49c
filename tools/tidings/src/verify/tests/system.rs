//! A small consistent system, as services would have left it: four orders, each with another end.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use contracts::AnyEvent;
use contracts::order::{CancellationReason, OrderCancelled, OrderConfirmed, OrderLine, OrderPlaced};
use contracts::payment::{PaymentCompleted, PaymentDeclined, PaymentRefunded};
use contracts::reservation::{ReservedLine, StockRejected, StockReleased, StockReserved};
use contracts::stock::StockReplenished;
use contracts::topics::Topics;
use uuid::Uuid;

use crate::services::ServiceName;
use crate::verify::case::Case;
use crate::verify::checks::{DeadLetters, check};
use crate::verify::history::{History, Place, Range, Seen};
use crate::verify::report::Report;
use crate::verify::snapshot::{
    Analytics, Delivery, LedgerRow, OrderRow, OutboxRow, PaymentRow, Snapshot, StockRow,
};
use crate::verify::subscriptions;

pub(super) const CONFIRMED: Uuid = Uuid::from_u128(0xc0);
pub(super) const OUT_OF_STOCK: Uuid = Uuid::from_u128(0x50);
pub(super) const DECLINED: Uuid = Uuid::from_u128(0xd0);
pub(super) const REFUNDED: Uuid = Uuid::from_u128(0xf0);
pub(super) const PRICE_MINOR: i64 = 250;

pub(super) struct System {
    pub(super) topics: Topics,
    pub(super) history: History,
    pub(super) snapshot: Snapshot,
    ids: u128,
}

pub(super) fn event_time() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_700_000_000_000_000).unwrap()
}

pub(super) fn payment_id(order_id: Uuid) -> Uuid {
    Uuid::from_u128(order_id.as_u128() + 1)
}

pub(super) fn lines(quantity: i64) -> Vec<ReservedLine> {
    vec![ReservedLine { sku: "TEAPOT".into(), quantity }]
}

impl System {
    pub(super) fn new() -> Self {
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

    pub(super) fn id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }

    /// Publishes an event: on its topic, finished in its service's outbox, applied by every subscriber.
    pub(super) fn publish(&mut self, service: ServiceName, event: AnyEvent) {
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
            is_published: true,
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

    pub(super) fn delivery(&mut self, service: ServiceName) -> &mut Delivery {
        self.snapshot.delivery.get_mut(&service).unwrap()
    }

    pub(super) fn replenish(&mut self, quantity: i64) {
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

    pub(super) fn placed(&mut self, order_id: Uuid, quantity: i64, end: (&str, Option<&str>)) {
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
            last_sequence: 2,
        });
    }

    pub(super) fn cancelled(&mut self, order_id: Uuid, reason: CancellationReason) {
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

    pub(super) fn reserved(&mut self, order_id: Uuid, quantity: i64) {
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

    pub(super) fn released(&mut self, order_id: Uuid, quantity: i64) {
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

    pub(super) fn paid(&mut self, order_id: Uuid, amount_minor: i64) {
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

    pub(super) fn moved(&mut self, order_id: Uuid, step: &str, amount_minor: i64) {
        self.snapshot.ledger.push(LedgerRow {
            payment_id: payment_id(order_id),
            step: step.into(),
            amount_minor,
            currency: "GBP".into(),
        });
    }

    pub(super) fn stored(&mut self, order_id: Uuid, reservation: &str, payment: &str) {
        self.snapshot.reservations.push((order_id, reservation.into()));
        let payment_id = payment_id(order_id);
        self.snapshot.payments.push(PaymentRow { order_id, payment_id, state: payment.into() });
    }

    pub(super) fn confirmed(&mut self) {
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

    pub(super) fn out_of_stock(&mut self) {
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

    pub(super) fn declined(&mut self) {
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

    pub(super) fn refunded(&mut self) {
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

    pub(super) fn verify(&self) -> Report {
        check(&Case::new(&self.topics, &self.history, &self.snapshot), DeadLetters::Unexpected)
    }

    /// Takes the events away that `is_lost` names, as if they had never reached the topic.
    pub(super) fn lose(&mut self, is_lost: impl Fn(&AnyEvent) -> bool) {
        self.history.seen.retain(|seen| !is_lost(&seen.event));
    }

    pub(super) fn event_mut(&mut self, wanted: impl Fn(&AnyEvent) -> bool) -> &mut AnyEvent {
        &mut self.history.seen.iter_mut().find(|seen| wanted(&seen.event)).unwrap().event
    }
}
