//! What inventory knows of one order, and what each fact about it changes.

use uuid::Uuid;

use super::{LevelChange, Lines, OrderId, Refusal, Sku, StockLevel};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReservationId(pub Uuid);

/// A fact about an order, as far as stock is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderFact {
    Placed(Lines),
    Confirmed,
    Cancelled,
}

/// Everything that inventory knows of one order: one row, never deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    pub id: ReservationId,
    pub state: ReservationState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReservationState {
    Unknown,
    Reserved(Lines),
    Rejected,
    Committed(Lines),
    Released(Lines),
    /// Remembered, so that a late `Placed` reserves nothing.
    CancelledBeforePlaced,
}

/// What has happened to a reservation. `adapters/contract.rs` decides which of it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReservationEvent {
    Reserved(Lines),
    Rejected(Vec<Shortage>),
    Committed(Lines),
    Released(Lines),
    CancelledBeforePlaced,
}

/// Too few units of one SKU for all lines of an order together; a SKU that is not kept has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    pub sku: Sku,
    pub requested: i64,
    pub available: i64,
}

/// What a fact changes: the reservation, and the levels of its SKUs in step with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub event: ReservationEvent,
    pub levels: Vec<LevelChange>,
}

impl Reservation {
    /// What `fact` changes; nothing, if it was known. `stock` gives the level of a SKU, if it is kept.
    ///
    /// # Errors
    /// When the fact is impossible in the present state.
    pub fn decide(
        &self,
        order_id: OrderId,
        fact: &OrderFact,
        stock: impl Fn(&Sku) -> Option<StockLevel>,
    ) -> Result<Option<Decision>, Refusal> {
        type Movement = fn(&StockLevel, &Sku, i64) -> Result<LevelChange, Refusal>;
        let level = |sku: &Sku| stock(sku).unwrap_or(StockLevel::empty(0));
        let Some(event) = react(order_id, &self.state, fact, level)? else { return Ok(None) };
        let moved: Option<(&Lines, Movement)> = match &event {
            ReservationEvent::Reserved(lines) => Some((lines, StockLevel::reserve)),
            ReservationEvent::Committed(lines) => Some((lines, StockLevel::commit)),
            ReservationEvent::Released(lines) => Some((lines, StockLevel::release)),
            ReservationEvent::Rejected(_) | ReservationEvent::CancelledBeforePlaced => None,
        };
        let levels = moved.into_iter().flat_map(|(lines, movement)| {
            lines.iter().map(move |(sku, quantity)| movement(&level(sku), sku, quantity))
        });
        Ok(Some(Decision { levels: levels.collect::<Result<_, _>>()?, event }))
    }

    pub fn apply(&mut self, event: &ReservationEvent) {
        self.state = match event {
            ReservationEvent::Reserved(lines) => ReservationState::Reserved(lines.clone()),
            ReservationEvent::Rejected(_) => ReservationState::Rejected,
            ReservationEvent::Committed(lines) => ReservationState::Committed(lines.clone()),
            ReservationEvent::Released(lines) => ReservationState::Released(lines.clone()),
            ReservationEvent::CancelledBeforePlaced => ReservationState::CancelledBeforePlaced,
        };
    }
}

impl ReservationState {
    /// Its name in the table and in messages.
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

    pub const fn lines(&self) -> Option<&Lines> {
        match self {
            Self::Reserved(lines) | Self::Committed(lines) | Self::Released(lines) => Some(lines),
            Self::Unknown | Self::Rejected | Self::CancelledBeforePlaced => None,
        }
    }
}

/// The state table. A fact that is repeated, or arrives after the order's end, changes nothing: a replay is harmless without
/// the inbox, too.
fn react(
    order_id: OrderId,
    state: &ReservationState,
    fact: &OrderFact,
    level: impl Fn(&Sku) -> StockLevel,
) -> Result<Option<ReservationEvent>, Refusal> {
    use ReservationState::{CancelledBeforePlaced, Committed, Rejected, Released, Reserved, Unknown};
    match (state, fact) {
        (Unknown, OrderFact::Placed(lines)) => Ok(Some(reserve(lines, level))),
        (
            Reserved(_) | Rejected | Committed(_) | Released(_) | CancelledBeforePlaced,
            OrderFact::Placed(_),
        ) => Ok(None),

        (Reserved(lines), OrderFact::Confirmed) => Ok(Some(ReservationEvent::Committed(lines.clone()))),
        (Committed(_), OrderFact::Confirmed) => Ok(None),
        (Unknown | Rejected | Released(_) | CancelledBeforePlaced, OrderFact::Confirmed) => {
            Err(Refusal::ConfirmedWithoutStock { order_id, state: state.name() })
        }

        (Unknown, OrderFact::Cancelled) => Ok(Some(ReservationEvent::CancelledBeforePlaced)),
        (Reserved(lines), OrderFact::Cancelled) => Ok(Some(ReservationEvent::Released(lines.clone()))),
        (Rejected | Released(_) | CancelledBeforePlaced, OrderFact::Cancelled) => Ok(None),
        (Committed(_), OrderFact::Cancelled) => Err(Refusal::CancelledAfterCommit { order_id }),
    }
}

/// All lines or none.
fn reserve(lines: &Lines, level: impl Fn(&Sku) -> StockLevel) -> ReservationEvent {
    let shortages: Vec<Shortage> = lines
        .iter()
        .map(|(sku, requested)| (sku, requested, level(sku).books().available))
        .filter(|(_, requested, available)| available < requested)
        .map(|(sku, requested, available)| Shortage { sku: sku.clone(), requested, available })
        .collect();
    if shortages.is_empty() {
        ReservationEvent::Reserved(lines.clone())
    } else {
        ReservationEvent::Rejected(shortages)
    }
}
