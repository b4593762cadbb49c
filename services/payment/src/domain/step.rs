//! The terms between the saga and the provider: steps, answers, reports.

use std::fmt;

use uuid::Uuid;

/// One call at the provider. With the payment's id it is the key under which the provider acts at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Hold the amount on the customer's means of payment.
    Authorize,
    /// Moves no money, so nothing undoes it.
    CheckFraud,
    /// Take the amount held. Undone by `Refund`.
    Capture,
    /// Release what `Authorize` holds.
    Void,
    /// Give back what `Capture` took.
    Refund,
}

impl Step {
    pub const ALL: [Self; 5] = [Self::Authorize, Self::CheckFraud, Self::Capture, Self::Void, Self::Refund];

    /// The name in tables, logs and HTTP responses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::CheckFraud => "check_fraud",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Refund => "refund",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The provider's id of what it did.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TransactionId(pub String);

/// Payment's id of a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RefundId(pub Uuid);

/// What the provider decided. It is final: the same key gets the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    Approved {
        transaction_id: TransactionId,
    },
    /// Nothing was done.
    Declined {
        /// A stable code, such as `card_declined`.
        reason: String,
    },
}

impl Answer {
    /// The name in metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Approved { .. } => "approved",
            Self::Declined { .. } => "declined",
        }
    }
}

/// What a worker does next for a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// The provider was never called for this step: call it.
    Ask(Step),
    /// The provider may have been called: look the step up by its key, and call only if the provider has no record of it.
    LookUpThenAsk(Step),
    /// The provider may have been called for a step that is no longer wanted: look up what is to be undone.
    LookUp(Step),
}

impl Task {
    pub const fn step(self) -> Step {
        match self {
            Self::Ask(step) | Self::LookUpThenAsk(step) | Self::LookUp(step) => step,
        }
    }
}

/// What a worker learned at the provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Report {
    Answered(Answer),
    /// The provider has no record of the step.
    Absent,
    /// The provider certainly did nothing, and may do it later.
    Unavailable,
    /// The provider may have acted.
    Unknown,
}
