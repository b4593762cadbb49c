//! What analytics knows of one order: enough to count each of its milestones once, whatever the order of arrival.

use std::fmt;

use chrono::{DateTime, Utc};
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(pub Uuid);

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CartLine {
    pub sku: String,
    pub quantity: i64,
    pub unit_price_minor: i64,
}

/// The lines of an order, kept until it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cart {
    /// ISO 4217.
    pub currency: String,
    pub lines: Vec<CartLine>,
    pub placed_at: DateTime<Utc>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    OutOfStock,
    PaymentDeclined,
    CustomerRequest,
    TimedOut,
    /// A reason that this version doesn't know.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderFact {
    Placed(Cart),
    Reserved,
    Paid,
    Confirmed(DateTime<Utc>),
    Cancelled(Reason),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Neither placed nor ended, as far as is known.
    Unknown,
    Placed(Cart),
    /// Its lines are not yet known.
    ConfirmedBeforePlaced(DateTime<Utc>),
    Confirmed,
    CancelledBeforePlaced(Reason),
    Cancelled(Reason),
}

/// Everything that analytics knows of one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderProgress {
    pub status: Status,
    pub reserved: bool,
    pub paid: bool,
}

/// What is counted, once per order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Milestone {
    Placed,
    Reserved,
    Paid,
    Confirmed,
    Cancelled(Reason),
    /// The order is confirmed, and its lines are known.
    Sold {
        cart: Cart,
        confirmed_at: DateTime<Utc>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("order {order_id} has ended as {ended}, and can't end as {fact}")]
    EndedOtherwise { order_id: OrderId, ended: &'static str, fact: &'static str },
    #[error("order {order_id}: its units or its revenue exceed what can be counted")]
    TooLarge { order_id: OrderId },
}

impl Refusal {
    /// A stable code: the reason of a dead letter, and a metric's label.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::EndedOtherwise { .. } => "ended_otherwise",
            Self::TooLarge { .. } => "too_large",
        }
    }
}

impl OrderProgress {
    pub const UNKNOWN: Self = Self { status: Status::Unknown, reserved: false, paid: false };

    /// The progress after `fact`, and what there is to count. A repeated fact counts nothing.
    ///
    /// # Errors
    /// When the fact contradicts the order's end.
    pub fn react(&self, order_id: OrderId, fact: &OrderFact) -> Result<(Self, Vec<Milestone>), Refusal> {
        let unchanged = || Ok((self.clone(), Vec::new()));
        let moved = |status, milestones| Ok((Self { status, ..self.clone() }, milestones));
        match fact {
            OrderFact::Reserved if self.reserved => unchanged(),
            OrderFact::Reserved => Ok((Self { reserved: true, ..self.clone() }, vec![Milestone::Reserved])),
            OrderFact::Paid if self.paid => unchanged(),
            OrderFact::Paid => Ok((Self { paid: true, ..self.clone() }, vec![Milestone::Paid])),
            OrderFact::Placed(cart) => match &self.status {
                Status::Unknown => moved(Status::Placed(cart.clone()), vec![Milestone::Placed]),
                Status::ConfirmedBeforePlaced(at) => {
                    moved(Status::Confirmed, vec![Milestone::Placed, sold(order_id, cart, *at)?])
                }
                Status::CancelledBeforePlaced(reason) => {
                    moved(Status::Cancelled(*reason), vec![Milestone::Placed])
                }
                Status::Placed(_) | Status::Confirmed | Status::Cancelled(_) => unchanged(),
            },
            OrderFact::Confirmed(at) => match &self.status {
                Status::Unknown => moved(Status::ConfirmedBeforePlaced(*at), vec![Milestone::Confirmed]),
                Status::Placed(cart) => {
                    moved(Status::Confirmed, vec![Milestone::Confirmed, sold(order_id, cart, *at)?])
                }
                Status::ConfirmedBeforePlaced(_) | Status::Confirmed => unchanged(),
                Status::CancelledBeforePlaced(_) | Status::Cancelled(_) => {
                    Err(Refusal::EndedOtherwise { order_id, ended: "cancelled", fact: "confirmed" })
                }
            },
            OrderFact::Cancelled(reason) => match &self.status {
                Status::Unknown => {
                    moved(Status::CancelledBeforePlaced(*reason), vec![Milestone::Cancelled(*reason)])
                }
                Status::Placed(_) => moved(Status::Cancelled(*reason), vec![Milestone::Cancelled(*reason)]),
                Status::CancelledBeforePlaced(_) | Status::Cancelled(_) => unchanged(),
                Status::ConfirmedBeforePlaced(_) | Status::Confirmed => {
                    Err(Refusal::EndedOtherwise { order_id, ended: "confirmed", fact: "cancelled" })
                }
            },
        }
    }
}

fn sold(order_id: OrderId, cart: &Cart, confirmed_at: DateTime<Utc>) -> Result<Milestone, Refusal> {
    cart.totals().ok_or(Refusal::TooLarge { order_id })?;
    Ok(Milestone::Sold { cart: cart.clone(), confirmed_at })
}

impl Cart {
    /// The units and the price of all lines together, if they can be counted.
    pub fn totals(&self) -> Option<(i64, i64)> {
        self.lines.iter().try_fold((0_i64, 0_i64), |(units, minor), line| {
            let price = line.quantity.checked_mul(line.unit_price_minor)?;
            Some((units.checked_add(line.quantity)?, minor.checked_add(price)?))
        })
    }
}
