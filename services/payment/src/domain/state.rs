//! The states of a payment, one variant each with its own data.

use super::charge::Charge;
use super::step::{RefundId, Step, TransactionId};

/// Whether the provider was called for the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Certainly not called yet.
    Due,
    /// Perhaps called, and the answer is not stored: a call is in flight, timed out, or its caller died.
    InDoubt,
}

/// The next step of a saga in progress, with what the step needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NextStep {
    Authorize,
    CheckFraud {
        authorization: TransactionId,
    },
    Capture {
        authorization: TransactionId,
    },
    /// The provider declined after it had authorized.
    VoidDeclined {
        authorization: TransactionId,
        reason: String,
    },
    /// Cancelled while the authorization was in doubt.
    ResolveAuthorization,
    /// Cancelled while the capture was in doubt.
    ResolveCapture {
        authorization: TransactionId,
    },
    /// Cancelled before the capture. Without an authorization the void forbids a late one.
    Void {
        authorization: Option<TransactionId>,
    },
    /// Cancelled after the capture.
    Refund {
        capture: TransactionId,
    },
}

/// All that payment knows of an order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The row was inserted to be locked.
    Unknown,
    /// `OrderPlaced` came; the stock is not reserved yet.
    AwaitingStock {
        charge: Charge,
    },
    /// `StockReserved` came before its `OrderPlaced`.
    AwaitingOrder,
    InProgress {
        charge: Charge,
        next: NextStep,
        call: Call,
    },
    Completed {
        charge: Charge,
        capture: TransactionId,
    },
    /// The provider declined; nothing is held.
    Declined {
        charge: Charge,
        reason: String,
    },
    /// The order was cancelled before the capture; nothing is held.
    Voided {
        charge: Charge,
    },
    /// The order was cancelled after the capture, and the amount refunded.
    Refunded {
        charge: Charge,
        capture: TransactionId,
        refund_id: RefundId,
        /// The provider's id of the refund.
        refund: TransactionId,
    },
    /// The order was cancelled before the provider was called: nothing is ever charged.
    Cancelled,
}

impl NextStep {
    /// The step at the provider.
    pub const fn step(&self) -> Step {
        match self {
            Self::Authorize | Self::ResolveAuthorization => Step::Authorize,
            Self::CheckFraud { .. } => Step::CheckFraud,
            Self::Capture { .. } | Self::ResolveCapture { .. } => Step::Capture,
            Self::VoidDeclined { .. } | Self::Void { .. } => Step::Void,
            Self::Refund { .. } => Step::Refund,
        }
    }
}

impl State {
    /// The saga's beginning.
    pub(super) const fn begin(charge: Charge) -> Self {
        Self::InProgress { charge, next: NextStep::Authorize, call: Call::Due }
    }

    pub const fn charge(&self) -> Option<&Charge> {
        match self {
            Self::AwaitingStock { charge }
            | Self::InProgress { charge, .. }
            | Self::Completed { charge, .. }
            | Self::Declined { charge, .. }
            | Self::Voided { charge }
            | Self::Refunded { charge, .. } => Some(charge),
            Self::Unknown | Self::AwaitingOrder | Self::Cancelled => None,
        }
    }
}
