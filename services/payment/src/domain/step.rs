//! The words between the saga and the provider: steps, answers, reports.

use std::fmt;

use uuid::Uuid;

/// One call at the provider. With the payment's id it is the key under which the provider acts at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Hold the amount on the customer's means of payment.
    Authorize,
    /// Ask whether the payment looks honest. Moves no money, so nothing undoes it.
    CheckFraud,
    /// Take the amount held. Undone by `Refund`.
    Capture,
    /// Let go of what `Authorize` holds.
    Void,
    /// Give back what `Capture` took.
    Refund,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 5] = [Self::Authorize, Self::CheckFraud, Self::Capture, Self::Void, Self::Refund];

    /// The name in tables, logs and answers.
    #[must_use]
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

/// The provider's own id of something it did.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TransactionId(pub String);

/// Our id of a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RefundId(pub Uuid);

/// What the provider decided, for ever: the same key gets the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Done.
    Approved {
        /// The provider's id of what it did.
        transaction_id: TransactionId,
    },
    /// Refused; nothing was done.
    Declined {
        /// A stable code, such as `card_declined`.
        reason: String,
    },
}

/// What a worker has to do next for a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// The provider was never asked for this step: ask.
    Ask(Step),
    /// It may have been asked: look the step up by its key, and ask only if the provider knows nothing of it.
    LookUpThenAsk(Step),
    /// It may have been asked and is no longer wanted: look up what is to be undone.
    LookUp(Step),
}

impl Task {
    /// The step in question.
    #[must_use]
    pub const fn step(self) -> Step {
        match self {
            Self::Ask(step) | Self::LookUpThenAsk(step) | Self::LookUp(step) => step,
        }
    }
}

/// What a worker brings back from the provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Report {
    /// The provider decided.
    Answered(Answer),
    /// The provider knows nothing of the step.
    Absent,
    /// The provider certainly did nothing, and may do it later.
    Unavailable,
    /// Nobody knows whether the provider acted.
    Unknown,
}
