//! What inventory knows of one order, and what each fact about it means in each state.

use uuid::Uuid;

use super::{Lines, OrderId, Refusal};

/// A reservation's id, drawn when the order is first heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReservationId(pub Uuid);

/// A fact about an order, as far as stock is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderFact {
    /// It was placed, and asks for these.
    Placed(Lines),
    /// It was confirmed: what is held for it is sold.
    Confirmed,
    /// It was cancelled: what is held for it goes back.
    Cancelled,
}

/// Everything that inventory knows of one order: one row, never deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The reservation's id.
    pub id: ReservationId,
    /// What has become of it.
    pub state: ReservationState,
}

/// What has become of an order's stock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReservationState {
    /// Nothing has been heard of the order.
    Unknown,
    /// These units are held.
    Reserved(Lines),
    /// Too little was available; nothing is held.
    Rejected,
    /// These units are sold.
    Committed(Lines),
    /// These units were held and went back.
    Released(Lines),
    /// Cancelled before it was known: a tombstone, so that a late `Placed` holds nothing.
    CancelledBeforePlaced,
}

/// What a fact asks of the stock; the shelves decide whether it can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Hold all of these, or none.
    Hold(Lines),
    /// Sell what is held.
    Commit(Lines),
    /// Give back what is held.
    Release(Lines),
    /// Remember the cancellation; no stock moves.
    CancelBeforePlaced,
    /// The fact was known already.
    Nothing,
}

impl ReservationState {
    /// The state's name in tables and messages.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Reserved(_) => "reserved",
            Self::Rejected => "rejected",
            Self::Committed(_) => "committed",
            Self::Released(_) => "released",
            Self::CancelledBeforePlaced => "cancelled_before_placed",
        }
    }

    /// The units that the state speaks of, if any.
    #[must_use]
    pub const fn lines(&self) -> Option<&Lines> {
        match self {
            Self::Reserved(lines) | Self::Committed(lines) | Self::Released(lines) => Some(lines),
            Self::Unknown | Self::Rejected | Self::CancelledBeforePlaced => None,
        }
    }
}

/// What `fact` asks of the stock of an order in `state`.
///
/// A fact met again, or met after the order's end, asks for nothing: replays are harmless without the inbox's help.
///
/// # Errors
/// When the fact is impossible in this state.
pub fn react(order_id: OrderId, state: &ReservationState, fact: &OrderFact) -> Result<Step, Refusal> {
    use ReservationState::{CancelledBeforePlaced, Committed, Rejected, Released, Reserved, Unknown};
    match (state, fact) {
        (Unknown, OrderFact::Placed(lines)) => Ok(Step::Hold(lines.clone())),
        (
            Reserved(_) | Rejected | Committed(_) | Released(_) | CancelledBeforePlaced,
            OrderFact::Placed(_),
        ) => Ok(Step::Nothing),

        (Reserved(lines), OrderFact::Confirmed) => Ok(Step::Commit(lines.clone())),
        (Committed(_), OrderFact::Confirmed) => Ok(Step::Nothing),
        (Unknown | Rejected | Released(_) | CancelledBeforePlaced, OrderFact::Confirmed) => {
            Err(Refusal::ConfirmedWithoutStock { order_id, state: state.name() })
        }

        (Unknown, OrderFact::Cancelled) => Ok(Step::CancelBeforePlaced),
        (Reserved(lines), OrderFact::Cancelled) => Ok(Step::Release(lines.clone())),
        (Rejected | Released(_) | CancelledBeforePlaced, OrderFact::Cancelled) => Ok(Step::Nothing),
        (Committed(_), OrderFact::Cancelled) => Err(Refusal::CancelledAfterCommit { order_id }),
    }
}
