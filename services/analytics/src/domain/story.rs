//! What analytics knows of one order: enough to count each of its milestones once, whatever the order of arrival.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// An order's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(pub Uuid);

/// One line of an order as it was placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CartLine {
    /// Of what.
    pub sku: String,
    /// How many units.
    pub quantity: i64,
    /// What one costs, in minor units.
    pub unit_price_minor: i64,
}

/// What an order asked for, remembered until it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cart {
    /// ISO 4217.
    pub currency: String,
    /// The lines.
    pub lines: Vec<CartLine>,
    /// When it was placed.
    pub placed_at: DateTime<Utc>,
}

/// Why an order was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Too little stock.
    OutOfStock,
    /// No money.
    PaymentDeclined,
    /// The customer asked for it.
    CustomerRequest,
    /// It waited too long.
    TimedOut,
    /// A reason that this version doesn't know.
    Unknown,
}

/// A fact about an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderFact {
    /// It was placed.
    Placed(Cart),
    /// Its stock is held.
    Reserved,
    /// Its money was taken.
    Paid,
    /// It was confirmed then.
    Confirmed(DateTime<Utc>),
    /// It was cancelled.
    Cancelled(Reason),
}

/// How far an order has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Neither placed nor ended, as far as is known.
    Unknown,
    /// Placed and open.
    Placed(Cart),
    /// Confirmed then, with its lines not yet known.
    ConfirmedBeforePlaced(DateTime<Utc>),
    /// Confirmed and counted.
    Confirmed,
    /// Cancelled, with its placement not yet known.
    CancelledBeforePlaced(Reason),
    /// Cancelled and counted.
    Cancelled(Reason),
}

/// Everything that analytics knows of one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// How far it has come.
    pub status: Status,
    /// Whether its stock was ever held.
    pub reserved: bool,
    /// Whether its money was ever taken.
    pub paid: bool,
}

/// Something to be counted, once an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Milestone {
    /// The order was placed.
    Placed,
    /// Its stock was held.
    Reserved,
    /// Its money was taken.
    Paid,
    /// It was confirmed.
    Confirmed,
    /// It was cancelled.
    Cancelled(Reason),
    /// It was confirmed, and its lines are known: a sale.
    Sold {
        /// What was sold.
        cart: Cart,
        /// When it was confirmed.
        confirmed_at: DateTime<Utc>,
    },
}

/// Why a fact is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The order has ended otherwise already.
    #[error("the order has ended as {ended}, and is now said to have ended as {fact}")]
    EndedOtherwise {
        /// How it ended.
        ended: &'static str,
        /// How it is said to have ended.
        fact: &'static str,
    },
    /// A sum exceeds what can be counted.
    #[error("the order's units or its revenue exceed what can be counted")]
    TooLarge,
}

impl Refusal {
    /// A stable code, for metrics and for the reason of a dead letter.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::EndedOtherwise { .. } => "ended_otherwise",
            Self::TooLarge => "too_large",
        }
    }
}

impl Story {
    /// An order of which nothing is known.
    pub const UNKNOWN: Self = Self { status: Status::Unknown, reserved: false, paid: false };

    /// The story after `fact`, and what there is to count. A fact met again counts nothing.
    ///
    /// # Errors
    /// When the fact contradicts the order's end.
    pub fn react(&self, fact: &OrderFact) -> Result<(Self, Vec<Milestone>), Refusal> {
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
                    moved(Status::Confirmed, vec![Milestone::Placed, sold(cart, *at)?])
                }
                Status::CancelledBeforePlaced(reason) => {
                    moved(Status::Cancelled(*reason), vec![Milestone::Placed])
                }
                Status::Placed(_) | Status::Confirmed | Status::Cancelled(_) => unchanged(),
            },
            OrderFact::Confirmed(at) => match &self.status {
                Status::Unknown => moved(Status::ConfirmedBeforePlaced(*at), vec![Milestone::Confirmed]),
                Status::Placed(cart) => {
                    moved(Status::Confirmed, vec![Milestone::Confirmed, sold(cart, *at)?])
                }
                Status::ConfirmedBeforePlaced(_) | Status::Confirmed => unchanged(),
                Status::CancelledBeforePlaced(_) | Status::Cancelled(_) => {
                    Err(Refusal::EndedOtherwise { ended: "cancelled", fact: "confirmed" })
                }
            },
            OrderFact::Cancelled(reason) => match &self.status {
                Status::Unknown => {
                    moved(Status::CancelledBeforePlaced(*reason), vec![Milestone::Cancelled(*reason)])
                }
                Status::Placed(_) => moved(Status::Cancelled(*reason), vec![Milestone::Cancelled(*reason)]),
                Status::CancelledBeforePlaced(_) | Status::Cancelled(_) => unchanged(),
                Status::ConfirmedBeforePlaced(_) | Status::Confirmed => {
                    Err(Refusal::EndedOtherwise { ended: "confirmed", fact: "cancelled" })
                }
            },
        }
    }
}

fn sold(cart: &Cart, confirmed_at: DateTime<Utc>) -> Result<Milestone, Refusal> {
    cart.totals().ok_or(Refusal::TooLarge)?;
    Ok(Milestone::Sold { cart: cart.clone(), confirmed_at })
}

impl Cart {
    /// The units and the price of all lines together, if they can be counted.
    #[must_use]
    pub fn totals(&self) -> Option<(i64, i64)> {
        self.lines.iter().try_fold((0_i64, 0_i64), |(units, minor), line| {
            let price = line.quantity.checked_mul(line.unit_price_minor)?;
            Some((units.checked_add(line.quantity)?, minor.checked_add(price)?))
        })
    }
}
