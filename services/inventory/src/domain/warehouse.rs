//! Reservations against shelves: decides for whole orders, and keeps both sides of the books in step.

use std::collections::BTreeMap;

use super::reservation::{self, OrderFact, Reservation, ReservationId, ReservationState, Step};
use super::{Lines, OrderId, Refusal, Sku, StockLevel};

/// Something that happened to stock. Internal: `adapters/contract.rs` says which of it the world hears of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StockEvent {
    /// All lines of an order are held.
    Reserved {
        /// Which order.
        order_id: OrderId,
        /// Its reservation.
        reservation_id: ReservationId,
        /// The units held.
        lines: Lines,
    },
    /// An order can't be served; nothing is held.
    Rejected {
        /// Which order.
        order_id: OrderId,
        /// What it lacks, per SKU.
        shortages: Vec<Shortage>,
    },
    /// The units held for an order are sold.
    Committed {
        /// Which order.
        order_id: OrderId,
        /// The units sold.
        lines: Lines,
    },
    /// The units held for an order are available again.
    Released {
        /// Which order.
        order_id: OrderId,
        /// Its reservation.
        reservation_id: ReservationId,
        /// The units that went back.
        lines: Lines,
    },
    /// An order was cancelled before it was known.
    CancelledBeforePlaced {
        /// Which order.
        order_id: OrderId,
    },
    /// Units came.
    Replenished {
        /// Of what.
        sku: Sku,
        /// How many.
        quantity: i64,
        /// The level since.
        level: StockLevel,
    },
    /// A SKU's available units have just fallen below its threshold.
    FellLow {
        /// Of what.
        sku: Sku,
        /// The level since.
        level: StockLevel,
    },
}

/// Too few units of one SKU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// Of what.
    pub sku: Sku,
    /// How many the order asks for, all its lines together.
    pub requested: i64,
    /// How many were available; an unknown SKU has none.
    pub available: i64,
}

/// The orders and SKUs that a decision concerns. A SKU that isn't here isn't kept at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Warehouse {
    /// What is known of each order.
    pub reservations: BTreeMap<OrderId, Reservation>,
    /// The level of each SKU.
    pub shelves: BTreeMap<Sku, StockLevel>,
}

impl Warehouse {
    /// What `fact` about an order leads to. Decides only.
    ///
    /// # Errors
    /// When the fact is impossible in the order's present state.
    pub fn react(&self, order_id: OrderId, fact: &OrderFact) -> Result<Vec<StockEvent>, Refusal> {
        let reservation = self.reservations.get(&order_id).ok_or(Refusal::NotLoaded { order_id })?;
        let reservation_id = reservation.id;
        let event = match reservation::react(order_id, &reservation.state, fact)? {
            Step::Nothing => return Ok(Vec::new()),
            Step::CancelBeforePlaced => return Ok(vec![StockEvent::CancelledBeforePlaced { order_id }]),
            Step::Hold(lines) => {
                let shortages = self.shortages(&lines);
                if !shortages.is_empty() {
                    return Ok(vec![StockEvent::Rejected { order_id, shortages }]);
                }
                StockEvent::Reserved { order_id, reservation_id, lines }
            }
            Step::Commit(lines) => StockEvent::Committed { order_id, lines },
            Step::Release(lines) => StockEvent::Released { order_id, reservation_id, lines },
        };
        let fallen = self.moved(&event)?.into_iter().filter_map(|(sku, before, level)| {
            level.fell_low_since(&before).then_some(StockEvent::FellLow { sku, level })
        });
        Ok(std::iter::once(event.clone()).chain(fallen).collect())
    }

    /// What a replenishment of `sku` leads to; a SKU not kept so far begins with `default_threshold`. Decides only.
    ///
    /// # Errors
    /// When the quantity or the threshold is out of range.
    pub fn replenish(
        &self,
        sku: &Sku,
        quantity: i64,
        reorder_threshold: Option<i64>,
        default_threshold: i64,
    ) -> Result<Vec<StockEvent>, Refusal> {
        let before = self.shelves.get(sku).copied().unwrap_or(StockLevel::empty(default_threshold));
        let level = before.replenish(sku, quantity, reorder_threshold)?;
        let mut events = vec![StockEvent::Replenished { sku: sku.clone(), quantity, level }];
        // Only a raised threshold can do this: the level has crossed it although units came.
        if level.fell_low_since(&before) && before.books().replenished > 0 {
            events.push(StockEvent::FellLow { sku: sku.clone(), level });
        }
        Ok(events)
    }

    /// The warehouse after `event`.
    ///
    /// # Errors
    /// When the event does not follow from this warehouse.
    pub fn evolve(&mut self, event: &StockEvent) -> Result<(), Refusal> {
        for (sku, _, level) in self.moved(event)? {
            self.shelves.insert(sku, level);
        }
        let (order_id, state) = match event {
            StockEvent::Reserved { order_id, lines, .. } => {
                (order_id, ReservationState::Reserved(lines.clone()))
            }
            StockEvent::Rejected { order_id, .. } => (order_id, ReservationState::Rejected),
            StockEvent::Committed { order_id, lines } => {
                (order_id, ReservationState::Committed(lines.clone()))
            }
            StockEvent::Released { order_id, lines, .. } => {
                (order_id, ReservationState::Released(lines.clone()))
            }
            StockEvent::CancelledBeforePlaced { order_id } => {
                (order_id, ReservationState::CancelledBeforePlaced)
            }
            StockEvent::Replenished { sku, level, .. } => {
                self.shelves.insert(sku.clone(), *level);
                return Ok(());
            }
            StockEvent::FellLow { .. } => return Ok(()),
        };
        if let Some(reservation) = self.reservations.get_mut(order_id) {
            reservation.state = state;
        }
        Ok(())
    }

    fn shortages(&self, lines: &Lines) -> Vec<Shortage> {
        lines
            .iter()
            .map(|(sku, requested)| {
                let available = self.shelves.get(sku).map_or(0, |level| level.books().available);
                Shortage { sku: sku.clone(), requested, available }
            })
            .filter(|line| line.available < line.requested)
            .collect()
    }

    /// The level of each SKU that `event` moves, before and after.
    fn moved(&self, event: &StockEvent) -> Result<Vec<(Sku, StockLevel, StockLevel)>, Refusal> {
        type Movement = fn(&StockLevel, &Sku, i64) -> Result<StockLevel, Refusal>;
        let (lines, movement): (&Lines, Movement) = match event {
            StockEvent::Reserved { lines, .. } => (lines, |level, sku, quantity| {
                let reserved = level.books().reserved;
                level.reserve(quantity).ok_or(Refusal::StockOutOfBalance {
                    sku: sku.clone(),
                    quantity,
                    reserved,
                })
            }),
            StockEvent::Committed { lines, .. } => (lines, StockLevel::commit),
            StockEvent::Released { lines, .. } => (lines, StockLevel::release),
            StockEvent::Rejected { .. }
            | StockEvent::CancelledBeforePlaced { .. }
            | StockEvent::Replenished { .. }
            | StockEvent::FellLow { .. } => return Ok(Vec::new()),
        };
        lines
            .iter()
            .map(|(sku, quantity)| {
                let before = self.shelves.get(sku).copied().unwrap_or(StockLevel::empty(0));
                Ok((sku.clone(), before, movement(&before, sku, quantity)?))
            })
            .collect()
    }
}
