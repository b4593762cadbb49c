//! The states of a payment, one variant each with its own data.

use super::charge::Charge;
use super::step::{RefundId, Step, TransactionId};

/// How far the provider was asked for the step that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Certainly not asked yet.
    Due,
    /// Perhaps asked, and the answer is not stored: a call is under way, timed out, or its caller died.
    InDoubt,
}

/// The saga's way forward.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Charging {
    /// Next: hold the amount.
    Authorizing,
    /// Next: ask about fraud.
    CheckingFraud {
        /// What holds the amount.
        authorization: TransactionId,
    },
    /// Next: take the amount.
    Capturing {
        /// What holds the amount.
        authorization: TransactionId,
    },
}

/// The saga's way back after the order was cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Undo {
    /// Next: learn whether the amount is held.
    ResolvingAuthorization,
    /// Next: learn whether the amount was taken.
    ResolvingCapture {
        /// What holds the amount.
        authorization: TransactionId,
    },
    /// Next: let go of the amount held. Without an authorization it forbids a late one.
    Voiding {
        /// What holds the amount, if something does.
        authorization: Option<TransactionId>,
    },
    /// Next: give the amount back.
    Refunding {
        /// What took it.
        capture: TransactionId,
    },
}

/// All that payment knows of an order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing yet: the row was inserted to be locked.
    Unknown,
    /// `OrderPlaced` came; stock is not held yet.
    AwaitingStock {
        /// What will be charged.
        charge: Charge,
    },
    /// `StockReserved` came before its `OrderPlaced`.
    AwaitingOrder,
    /// The saga goes forward.
    Charging {
        /// What is charged.
        charge: Charge,
        /// The next step.
        step: Charging,
        /// Whether it was asked for.
        call: Call,
    },
    /// The amount was taken.
    Completed {
        /// What was charged.
        charge: Charge,
        /// What took it.
        capture: TransactionId,
    },
    /// The provider refused after it had authorized: the authorization is being voided.
    Declining {
        /// What was to be charged.
        charge: Charge,
        /// What holds the amount.
        authorization: TransactionId,
        /// Why the provider refused.
        reason: String,
        /// Whether the void was asked for.
        call: Call,
    },
    /// The provider refused; nothing is held.
    Declined {
        /// What was to be charged.
        charge: Charge,
        /// Why.
        reason: String,
    },
    /// The order was cancelled: the saga goes back.
    Cancelling {
        /// What was to be charged.
        charge: Charge,
        /// The next step.
        undo: Undo,
        /// Whether it was asked for.
        call: Call,
    },
    /// The order was cancelled before anything was taken; nothing is held.
    Voided {
        /// What was to be charged.
        charge: Charge,
    },
    /// The order was cancelled and the amount given back.
    Refunded {
        /// What was charged.
        charge: Charge,
        /// What had taken it.
        capture: TransactionId,
        /// Our id of the refund.
        refund_id: RefundId,
        /// The provider's.
        refund: TransactionId,
    },
    /// The order was cancelled before the provider was asked for anything: a tombstone, nothing is ever charged.
    Cancelled,
}

impl Charging {
    /// The step at the provider.
    #[must_use]
    pub const fn step(&self) -> Step {
        match self {
            Self::Authorizing => Step::Authorize,
            Self::CheckingFraud { .. } => Step::CheckFraud,
            Self::Capturing { .. } => Step::Capture,
        }
    }
}

impl State {
    /// The saga's beginning.
    pub(super) const fn begin(charge: Charge) -> Self {
        Self::Charging { charge, step: Charging::Authorizing, call: Call::Due }
    }
}
