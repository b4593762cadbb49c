//! A payment's states and every transition between them.
//!
//! **Invariants.** Nothing is asked of the provider before both `OrderPlaced` and `StockReserved` are known. After
//! `OrderCancelled` nothing more is taken, and what was taken or held is given back; a step that may have happened is
//! looked up before it is undone or repeated. No state is left by forgetting: rows are never deleted.

use uuid::Uuid;

use super::charge::Charge;
use super::state::{Call, Charging, State, Undo};
use super::step::{RefundId, TransactionId};

/// The order that is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderId(pub Uuid);

/// The payment; the first half of every key at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PaymentId(pub Uuid);

/// What happened to a payment. `adapters::contract` decides which of it the world hears.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PaymentEvent {
    /// The amount was taken.
    Completed {
        /// What was charged.
        charge: Charge,
        /// What took it.
        capture: TransactionId,
    },
    /// The provider refused, and nothing is held.
    Declined {
        /// What was to be charged.
        charge: Charge,
        /// Why.
        reason: String,
    },
    /// The authorization was given back after a cancellation.
    Voided,
    /// The amount was given back after a cancellation.
    Refunded {
        /// What was charged.
        charge: Charge,
        /// Our id of the refund.
        refund_id: RefundId,
    },
}

/// Why a fact is impossible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Two different orders under one id.
    #[error("order {} was placed twice, with different contents", .order_id.0)]
    ContradictingOrder {
        /// Which.
        order_id: OrderId,
    },
    /// Nobody can be charged a negative amount.
    #[error("order {} has the negative total {amount_minor}", .order_id.0)]
    NegativeAmount {
        /// Which.
        order_id: OrderId,
        /// Its total in minor units.
        amount_minor: i64,
    },
}

/// One order's payment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Payment {
    /// The order.
    pub order_id: OrderId,
    /// The payment's own id, drawn when its row was inserted.
    pub payment_id: PaymentId,
    /// All that is known.
    pub state: State,
}

impl Payment {
    /// `OrderPlaced`: remember what is to be charged, and begin if the stock is held already.
    ///
    /// # Errors
    /// When the amount is negative, or another order bears the same id.
    pub fn order_placed(&mut self, placed: Charge) -> Result<(), Rejection> {
        let order_id = self.order_id;
        if placed.money.amount_minor < 0 {
            return Err(Rejection::NegativeAmount { order_id, amount_minor: placed.money.amount_minor });
        }
        match &self.state {
            State::Unknown => self.state = State::AwaitingStock { charge: placed },
            State::AwaitingOrder => self.state = State::begin(placed),
            State::Cancelled => {}
            State::AwaitingStock { charge }
            | State::Charging { charge, .. }
            | State::Completed { charge, .. }
            | State::Declining { charge, .. }
            | State::Declined { charge, .. }
            | State::Cancelling { charge, .. }
            | State::Voided { charge }
            | State::Refunded { charge, .. } => {
                if *charge != placed {
                    return Err(Rejection::ContradictingOrder { order_id });
                }
            }
        }
        Ok(())
    }

    /// `StockReserved`: begin charging, or wait in the row for the `OrderPlaced` that names the amount.
    pub fn stock_reserved(&mut self) {
        match &self.state {
            State::Unknown => self.state = State::AwaitingOrder,
            State::AwaitingStock { charge } => self.state = State::begin(charge.clone()),
            State::AwaitingOrder
            | State::Charging { .. }
            | State::Completed { .. }
            | State::Declining { .. }
            | State::Declined { .. }
            | State::Cancelling { .. }
            | State::Voided { .. }
            | State::Refunded { .. }
            | State::Cancelled => {}
        }
    }

    /// `OrderCancelled`: undo whatever was done, whichever step the saga is in. A refusal that the provider has already
    /// spoken stands: it ends with nothing held, too.
    pub fn order_cancelled(&mut self) {
        let next = match &self.state {
            State::Unknown | State::AwaitingStock { .. } | State::AwaitingOrder => State::Cancelled,
            State::Charging { charge, step, call } => cancel_charging(charge, step, *call),
            State::Completed { charge, capture } => State::Cancelling {
                charge: charge.clone(),
                undo: Undo::Refunding { capture: capture.clone() },
                call: Call::Due,
            },
            State::Declining { .. }
            | State::Declined { .. }
            | State::Cancelling { .. }
            | State::Voided { .. }
            | State::Refunded { .. }
            | State::Cancelled => return,
        };
        self.state = next;
    }
}

/// The way back from a saga in progress. What the provider was certainly not asked for needs no undoing; what it may
/// have been asked for is looked up first.
fn cancel_charging(charge: &Charge, step: &Charging, call: Call) -> State {
    let undo = match (step, call) {
        (Charging::Authorizing, Call::Due) => return State::Cancelled,
        (Charging::Authorizing, Call::InDoubt) => Undo::ResolvingAuthorization,
        (Charging::CheckingFraud { authorization }, Call::Due | Call::InDoubt)
        | (Charging::Capturing { authorization }, Call::Due) => {
            Undo::Voiding { authorization: Some(authorization.clone()) }
        }
        (Charging::Capturing { authorization }, Call::InDoubt) => {
            Undo::ResolvingCapture { authorization: authorization.clone() }
        }
    };
    State::Cancelling { charge: charge.clone(), undo, call: Call::Due }
}
