//! What an order answers to commands and facts. The first that ends it wins; what comes later is recorded and
//! changes no end.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::event::OrderEvent;
use super::order::{Order, Terms};
use super::placement::Placement;
use super::values::{CancellationReason, CurrencyCode, Status};

/// What a customer or the clock wants of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Place it, to end by then.
    Place { placement: Box<Placement>, due_at: DateTime<Utc> },
    /// Its customer wants it cancelled.
    Cancel,
    /// Its deadline may have passed.
    TimeOut,
}

/// What another service said about an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Inventory holds all its lines.
    StockReserved { reservation_id: Uuid },
    /// Inventory can't.
    StockRejected { shortages: Vec<Shortage> },
    /// Payment captured the money.
    PaymentCompleted { payment_id: Uuid, amount_minor: i64, currency: String },
    /// Payment can't.
    PaymentDeclined { payment_id: Uuid, reason: String },
}

/// What is missing of one SKU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    pub sku: String,
    pub requested: i64,
    pub available: i64,
}

/// Why a command or fact is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such order.
    #[error("there is no such order")]
    UnknownOrder,
    /// It was placed before.
    #[error("the order was placed before")]
    AlreadyPlaced,
    /// It was confirmed, so that it can't be cancelled.
    #[error("the order was confirmed and can't be cancelled any more")]
    AlreadyConfirmed,
    /// A payment over another amount than the order's total.
    #[error(
        "the payment of {amount_minor} {currency} does not match the order's total of {total_minor} {order_currency}"
    )]
    WrongAmount { amount_minor: i64, currency: String, total_minor: i64, order_currency: String },
    /// A second payment under another id: the customer was charged twice.
    #[error("payment {second} after payment {first} of the same order")]
    SecondPayment { first: Uuid, second: Uuid },
}

impl Refusal {
    /// A stable code, for metrics and dead letters.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownOrder => "unknown_order",
            Self::AlreadyPlaced => "already_placed",
            Self::AlreadyConfirmed => "already_confirmed",
            Self::WrongAmount { .. } => "wrong_amount",
            Self::SecondPayment { .. } => "second_payment",
        }
    }
}

/// What a command leads to.
///
/// # Errors
/// When the order's state forbids it.
pub fn decide(order: &Order, command: Command, now: DateTime<Utc>) -> Result<Vec<OrderEvent>, Refusal> {
    match (command, order) {
        (Command::Place { placement, due_at }, Order::Unplaced) => {
            Ok(vec![OrderEvent::OrderPlaced(placement), OrderEvent::DeadlineScheduled { due_at }])
        }
        (Command::Place { .. }, Order::Placed { .. } | Order::Confirmed { .. } | Order::Cancelled { .. }) => {
            Err(Refusal::AlreadyPlaced)
        }
        (Command::Cancel | Command::TimeOut, Order::Unplaced) => Err(Refusal::UnknownOrder),
        (Command::Cancel, Order::Placed { .. }) => Ok(cancelled(CancellationReason::CustomerRequest, None)),
        (Command::Cancel, Order::Cancelled { .. }) => Ok(Vec::new()),
        (Command::Cancel, Order::Confirmed { .. }) => Err(Refusal::AlreadyConfirmed),
        (Command::TimeOut, Order::Placed { due_at: Some(due_at), .. }) if *due_at <= now => {
            let detail = format!("not ended by {}", due_at.format("%Y-%m-%dT%H:%M:%SZ"));
            Ok(cancelled(CancellationReason::TimedOut, Some(detail)))
        }
        (Command::TimeOut, Order::Placed { .. } | Order::Confirmed { .. } | Order::Cancelled { .. }) => {
            Ok(Vec::new())
        }
    }
}

/// What a fact leads to: nothing if it is recorded already.
///
/// # Errors
/// When the fact can't be true of this order.
pub fn react(order: &Order, fact: Fact) -> Result<Vec<OrderEvent>, Refusal> {
    let (Some(status), Some(terms)) = (order.status(), order.terms()) else {
        return Err(Refusal::UnknownOrder);
    };
    let known = order.facts();
    let open = status == Status::Placed;
    match fact {
        Fact::StockReserved { .. } if known.reservation_id.is_some() => Ok(Vec::new()),
        Fact::StockReserved { reservation_id } => {
            Ok(vec![OrderEvent::StockReservationRecorded { reservation_id }])
        }
        Fact::StockRejected { .. } if known.stock_rejected => Ok(Vec::new()),
        Fact::StockRejected { shortages } if open => {
            Ok(cancelled(CancellationReason::OutOfStock, Some(in_words(&shortages))))
        }
        Fact::StockRejected { .. } => Ok(vec![OrderEvent::LateStockRejectionRecorded {}]),
        Fact::PaymentCompleted { payment_id, amount_minor, currency } => {
            check_payment(known.payment_id, terms, payment_id, amount_minor, currency)?;
            Ok(match (known.payment_id, open) {
                (Some(_), _) => Vec::new(),
                (None, true) => vec![OrderEvent::OrderConfirmed { payment_id }],
                (None, false) => vec![OrderEvent::LatePaymentRecorded { payment_id }],
            })
        }
        Fact::PaymentDeclined { .. } if known.payment_declined => Ok(Vec::new()),
        Fact::PaymentDeclined { reason, .. } if open => {
            Ok(cancelled(CancellationReason::PaymentDeclined, Some(bounded(reason))))
        }
        Fact::PaymentDeclined { payment_id, .. } => Ok(vec![OrderEvent::LateDeclineRecorded { payment_id }]),
    }
}

fn check_payment(
    known: Option<Uuid>,
    terms: &Terms,
    payment_id: Uuid,
    amount_minor: i64,
    currency: String,
) -> Result<(), Refusal> {
    if amount_minor != terms.total_minor || currency != terms.currency.as_str() {
        return Err(Refusal::WrongAmount {
            amount_minor,
            currency,
            total_minor: terms.total_minor,
            order_currency: CurrencyCode::as_str(&terms.currency).to_owned(),
        });
    }
    match known {
        Some(first) if first != payment_id => Err(Refusal::SecondPayment { first, second: payment_id }),
        Some(_) | None => Ok(()),
    }
}

fn cancelled(reason: CancellationReason, detail: Option<String>) -> Vec<OrderEvent> {
    vec![OrderEvent::OrderCancelled { reason, detail }]
}

/// The most shortages that a cancellation names; the event of inventory has them all.
const NAMED_SHORTAGES: usize = 3;
/// The most characters of a cancellation's detail that came from elsewhere.
const DETAIL_CHARS: usize = 500;

fn in_words(shortages: &[Shortage]) -> String {
    let named: Vec<String> = shortages
        .iter()
        .take(NAMED_SHORTAGES)
        .map(|s| format!("{}: {} wanted, {} available", s.sku, s.requested, s.available))
        .collect();
    let more = match shortages.len().saturating_sub(NAMED_SHORTAGES) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    bounded(format!("{}{more}", named.join("; ")))
}

fn bounded(text: String) -> String {
    if text.chars().count() <= DETAIL_CHARS { text } else { text.chars().take(DETAIL_CHARS).collect() }
}
