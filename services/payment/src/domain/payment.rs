//! A payment and the facts that other services publish about its order, in whatever order they arrive.

use uuid::Uuid;

use super::charge::Charge;
use super::state::{Call, NextStep, State};
use super::step::{RefundId, TransactionId};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderId(pub Uuid);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PaymentId(pub Uuid);

/// What happened to a payment. `adapters::contract` decides which of it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentEvent {
    Completed { charge: Charge, capture: TransactionId },
    Declined { charge: Charge, reason: String },
    Voided,
    Refunded { charge: Charge, refund_id: RefundId },
}

/// Why a fact is impossible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("order {} was placed twice, with different contents", .order_id.0)]
    ContradictingOrder { order_id: OrderId },
    #[error("order {} has the negative total {amount_minor}", .order_id.0)]
    NegativeAmount { order_id: OrderId, amount_minor: i64 },
}

impl Refusal {
    /// A stable code, for metrics and dead letters.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ContradictingOrder { .. } => "contradicting_order",
            Self::NegativeAmount { .. } => "negative_amount",
        }
    }
}

/// One order's payment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Payment {
    pub order_id: OrderId,
    /// Drawn when the row was inserted.
    pub payment_id: PaymentId,
    pub state: State,
}

impl Payment {
    /// `OrderPlaced`: keep the charge, and begin if the stock is reserved already.
    pub fn order_placed(&mut self, placed: Charge) -> Result<(), Refusal> {
        let order_id = self.order_id;
        if placed.money.amount_minor < 0 {
            return Err(Refusal::NegativeAmount { order_id, amount_minor: placed.money.amount_minor });
        }
        match &self.state {
            State::Unknown => self.state = State::AwaitingStock { charge: placed },
            State::AwaitingOrder => self.state = State::begin(placed),
            State::Cancelled => {}
            State::AwaitingStock { charge }
            | State::InProgress { charge, .. }
            | State::Completed { charge, .. }
            | State::Declined { charge, .. }
            | State::Voided { charge }
            | State::Refunded { charge, .. } => {
                if *charge != placed {
                    return Err(Refusal::ContradictingOrder { order_id });
                }
            }
        }
        Ok(())
    }

    /// `StockReserved`: begin charging, or wait in the row for the `OrderPlaced` that carries the amount.
    pub fn stock_reserved(&mut self) {
        match &self.state {
            State::Unknown => self.state = State::AwaitingOrder,
            State::AwaitingStock { charge } => self.state = State::begin(charge.clone()),
            State::AwaitingOrder
            | State::InProgress { .. }
            | State::Completed { .. }
            | State::Declined { .. }
            | State::Voided { .. }
            | State::Refunded { .. }
            | State::Cancelled => {}
        }
    }

    /// `OrderCancelled`: undo what was done, whichever step the saga is in. A payment that the provider has declined stays
    /// declined: it ends with nothing held, too.
    pub fn order_cancelled(&mut self) {
        self.state = match &self.state {
            State::Unknown | State::AwaitingStock { .. } | State::AwaitingOrder => State::Cancelled,
            State::InProgress { charge, next, call } => cancel(charge, next, *call),
            State::Completed { charge, capture } => State::InProgress {
                charge: charge.clone(),
                next: NextStep::Refund { capture: capture.clone() },
                call: Call::Due,
            },
            State::Declined { .. } | State::Voided { .. } | State::Refunded { .. } | State::Cancelled => {
                return;
            }
        };
    }
}

/// What the provider was certainly not called for needs no undoing. What it may have been called for is looked up first.
fn cancel(charge: &Charge, next: &NextStep, call: Call) -> State {
    let (next, call) = match (next, call) {
        (NextStep::Authorize, Call::Due) => return State::Cancelled,
        (NextStep::Authorize, Call::InDoubt) => (NextStep::ResolveAuthorization, Call::Due),
        (NextStep::CheckFraud { authorization }, Call::Due | Call::InDoubt)
        | (NextStep::Capture { authorization }, Call::Due) => {
            (NextStep::Void { authorization: Some(authorization.clone()) }, Call::Due)
        }
        (NextStep::Capture { authorization }, Call::InDoubt) => {
            (NextStep::ResolveCapture { authorization: authorization.clone() }, Call::Due)
        }
        (
            NextStep::VoidDeclined { .. }
            | NextStep::ResolveAuthorization
            | NextStep::ResolveCapture { .. }
            | NextStep::Void { .. }
            | NextStep::Refund { .. },
            call,
        ) => (next.clone(), call),
    };
    State::InProgress { charge: charge.clone(), next, call }
}
