//! One event of every type.

use chrono::{DateTime, Utc};
use contracts::order::{
    Address, CancellationReason, OrderCancelled, OrderConfirmed, OrderLine, OrderPlaced, Recipient,
};
use contracts::payment::{PaymentCompleted, PaymentDeclined, PaymentRefunded};
use contracts::reservation::{ReservedLine, Shortage, StockRejected, StockReleased, StockReserved};
use contracts::stock::{StockLevelLow, StockLevelRestored, StockReplenished};
use contracts::{AnyEvent, Event};
use uuid::Uuid;

pub(crate) fn id(last: u8) -> Uuid {
    let mut bytes = *Uuid::parse_str("01936d2c-7a40-7000-8000-000000000000").unwrap().as_bytes();
    bytes[15] = last;
    Uuid::from_bytes(bytes)
}

pub(crate) fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_795_262_400_123_456).unwrap()
}

pub(crate) fn order_placed() -> OrderPlaced {
    OrderPlaced {
        event_id: id(1),
        occurred_at: noon(),
        order_id: id(2),
        sequence: 1,
        customer_id: "17850".to_owned(),
        lines: vec![
            OrderLine { sku: "85123A".to_owned(), quantity: 6, unit_price_minor: 255 },
            OrderLine { sku: "85123A".to_owned(), quantity: 1, unit_price_minor: 0 },
        ],
        total_minor: 1_530,
        payment_method: "tok_visa".to_owned(),
        recipient: Some(Recipient {
            name: "Zoë Ångström".to_owned(),
            email: "zoe@example.org".to_owned(),
            address: Address {
                street: "1 High Street".to_owned(),
                city: "Leeds".to_owned(),
                postal_code: "LS1 1AA".to_owned(),
                country: "GB".to_owned(),
            },
        }),
        currency: "GBP".to_owned(),
    }
}

pub(crate) fn order_cancelled(detail: Option<&str>) -> OrderCancelled {
    OrderCancelled {
        event_id: id(3),
        occurred_at: noon(),
        order_id: id(2),
        sequence: 2,
        reason: CancellationReason::OutOfStock,
        detail: detail.map(str::to_owned),
    }
}

pub(crate) fn all() -> Vec<AnyEvent> {
    let (event_id, occurred_at, order_id, sequence) = (id(4), noon(), id(2), 2);
    let (payment_id, refund_id, reservation_id) = (id(5), id(6), id(7));
    let sku = "22423".to_owned();
    let (amount_minor, currency) = (i64::MAX, "EUR".to_owned());
    let lines = vec![ReservedLine { sku: sku.clone(), quantity: 1_000_000 }];
    let shortages = vec![Shortage { sku: sku.clone(), requested: 5, available: 0 }];
    vec![
        order_placed().into_any(),
        OrderPlaced { recipient: None, lines: Vec::new(), ..order_placed() }.into_any(),
        OrderConfirmed { event_id, occurred_at, order_id, sequence, payment_id }.into_any(),
        order_cancelled(Some("22423 is short")).into_any(),
        order_cancelled(None).into_any(),
        StockReserved { event_id, occurred_at, order_id, sequence, reservation_id, lines: lines.clone() }
            .into_any(),
        StockReleased { event_id, occurred_at, order_id, sequence, reservation_id, lines }.into_any(),
        StockRejected { event_id, occurred_at, order_id, sequence, shortages }.into_any(),
        PaymentCompleted {
            event_id,
            occurred_at,
            order_id,
            sequence,
            payment_id,
            amount_minor,
            currency: currency.clone(),
            transaction_id: "txn-1".to_owned(),
        }
        .into_any(),
        PaymentDeclined {
            event_id,
            occurred_at,
            order_id,
            sequence,
            payment_id,
            amount_minor,
            currency: currency.clone(),
            reason: "fraud_suspected".to_owned(),
        }
        .into_any(),
        PaymentRefunded {
            event_id,
            occurred_at,
            order_id,
            sequence,
            payment_id,
            refund_id,
            amount_minor,
            currency,
        }
        .into_any(),
        StockReplenished {
            event_id,
            occurred_at,
            sku: sku.clone(),
            sequence,
            quantity: 10,
            available: 12,
            threshold: 5,
        }
        .into_any(),
        StockLevelLow { event_id, occurred_at, sku: sku.clone(), sequence, available: 4, threshold: 5 }
            .into_any(),
        StockLevelRestored { event_id, occurred_at, sku, sequence, available: 6, threshold: 5 }.into_any(),
    ]
}
