//! One SKU's units: every one came by a replenishment and is available, reserved or committed.

use super::{Refusal, Sku};

/// The figures of one SKU, in units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Books {
    /// All units that ever came.
    pub replenished: i64,
    /// Units that an order can still get.
    pub available: i64,
    /// Units held for orders that have not ended.
    pub reserved: i64,
    /// Units of confirmed orders.
    pub committed: i64,
    /// Below this many available units the SKU is low.
    pub reorder_threshold: i64,
}

/// One SKU's level.
///
/// Invariant: no figure is negative, and `replenished = available + reserved + committed`. Only this file changes the
/// figures; the table's constraints say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StockLevel(Books);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StockEvent {
    Replenished {
        quantity: i64,
    },
    /// The available units have just fallen below the threshold, or the first ones are below it.
    FellLow,
    /// Units that were released have just brought the available ones back to the threshold.
    Restored,
}

/// A SKU's new level, and the events to publish about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelChange {
    pub sku: Sku,
    pub level: StockLevel,
    pub events: Vec<StockEvent>,
}

impl StockLevel {
    pub const fn empty(reorder_threshold: i64) -> Self {
        Self(Books { replenished: 0, available: 0, reserved: 0, committed: 0, reorder_threshold })
    }

    /// The level of a stored row.
    pub const fn restore(books: Books) -> Self {
        Self(books)
    }

    pub const fn books(&self) -> Books {
        self.0
    }

    pub const fn is_low(&self) -> bool {
        self.0.available < self.0.reorder_threshold
    }

    /// Adds available units, and sets the threshold if one is given.
    ///
    /// # Errors
    /// When the quantity is not positive, the threshold is negative, or the units can no longer be counted.
    pub fn replenish(
        &self,
        sku: &Sku,
        quantity: i64,
        reorder_threshold: Option<i64>,
    ) -> Result<LevelChange, Refusal> {
        if quantity < 1 {
            return Err(Refusal::QuantityNotPositive { sku: sku.clone(), quantity });
        }
        let threshold = reorder_threshold.unwrap_or(self.0.reorder_threshold);
        if threshold < 0 {
            return Err(Refusal::NegativeThreshold { sku: sku.clone(), threshold });
        }
        let too_many = || Refusal::TooMany { sku: sku.clone() };
        let books = Books {
            replenished: self.0.replenished.checked_add(quantity).ok_or_else(too_many)?,
            // `available` can't exceed `replenished`, so the first sum bounds the second.
            available: self.0.available + quantity,
            reorder_threshold: threshold,
            ..self.0
        };
        let mut change = self.change(sku, books);
        change.events.insert(0, StockEvent::Replenished { quantity });
        Ok(change)
    }

    /// Holds available units; refused if there are fewer.
    pub fn reserve(&self, sku: &Sku, quantity: i64) -> Result<LevelChange, Refusal> {
        let Books { available, reserved, .. } = self.0;
        if quantity < 1 || available < quantity {
            return Err(Refusal::StockOutOfBalance { sku: sku.clone(), quantity, reserved });
        }
        let books = Books { available: available - quantity, reserved: reserved + quantity, ..self.0 };
        Ok(self.change(sku, books))
    }

    /// Turns reserved units into committed ones; refused if there are fewer.
    pub fn commit(&self, sku: &Sku, quantity: i64) -> Result<LevelChange, Refusal> {
        let reserved = self.take_reserved(sku, quantity)?;
        Ok(self.change(sku, Books { reserved, committed: self.0.committed + quantity, ..self.0 }))
    }

    /// Makes reserved units available again; refused if there are fewer.
    pub fn release(&self, sku: &Sku, quantity: i64) -> Result<LevelChange, Refusal> {
        let reserved = self.take_reserved(sku, quantity)?;
        let mut change =
            self.change(sku, Books { reserved, available: self.0.available + quantity, ..self.0 });
        if self.is_low() && !change.level.is_low() {
            change.events.push(StockEvent::Restored);
        }
        Ok(change)
    }

    fn take_reserved(&self, sku: &Sku, quantity: i64) -> Result<i64, Refusal> {
        let reserved = self.0.reserved;
        if quantity < 1 || reserved < quantity {
            return Err(Refusal::StockOutOfBalance { sku: sku.clone(), quantity, reserved });
        }
        Ok(reserved - quantity)
    }

    /// A level that falls low publishes it once, at its crossing of the threshold. Also a raised threshold is crossed, and a SKU
    /// whose first units are below it.
    fn change(&self, sku: &Sku, books: Books) -> LevelChange {
        let level = Self(books);
        let was_low = self.is_low() && self.0.replenished > 0;
        let fell_low = !was_low && level.is_low();
        LevelChange {
            sku: sku.clone(),
            level,
            events: fell_low.then_some(StockEvent::FellLow).into_iter().collect(),
        }
    }
}
