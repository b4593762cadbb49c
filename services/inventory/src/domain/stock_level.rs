//! One SKU's units: every one came by a replenishment and is available, reserved or committed.

use super::{Refusal, Sku};

/// The figures of one SKU as they are kept.
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

impl StockLevel {
    /// A SKU without any units: stock begins at zero.
    #[must_use]
    pub const fn empty(reorder_threshold: i64) -> Self {
        Self(Books { replenished: 0, available: 0, reserved: 0, committed: 0, reorder_threshold })
    }

    /// The level that these kept figures describe.
    #[must_use]
    pub const fn restore(books: Books) -> Self {
        Self(books)
    }

    /// The figures.
    #[must_use]
    pub const fn books(&self) -> Books {
        self.0
    }

    /// Whether fewer units are available than the threshold asks for.
    #[must_use]
    pub const fn is_low(&self) -> bool {
        self.0.available < self.0.reorder_threshold
    }

    /// Whether the step from `before` to this level is a downward crossing of the threshold.
    #[must_use]
    pub const fn fell_low_since(&self, before: &Self) -> bool {
        !before.is_low() && self.is_low()
    }

    /// With `quantity` more units, and another threshold if one is given.
    ///
    /// # Errors
    /// When the quantity is not positive, the threshold is negative, or the units can no longer be counted.
    pub fn replenish(
        &self,
        sku: &Sku,
        quantity: i64,
        reorder_threshold: Option<i64>,
    ) -> Result<Self, Refusal> {
        if quantity < 1 {
            return Err(Refusal::QuantityNotPositive { sku: sku.clone(), quantity });
        }
        let threshold = reorder_threshold.unwrap_or(self.0.reorder_threshold);
        if threshold < 0 {
            return Err(Refusal::NegativeThreshold { sku: sku.clone(), threshold });
        }
        let too_many = || Refusal::TooMany { sku: sku.clone() };
        // `available` can't exceed `replenished`, so the first sum bounds the second.
        Ok(Self(Books {
            replenished: self.0.replenished.checked_add(quantity).ok_or_else(too_many)?,
            available: self.0.available + quantity,
            reorder_threshold: threshold,
            ..self.0
        }))
    }

    /// With `quantity` available units held; none when fewer are available.
    #[must_use]
    pub const fn reserve(&self, quantity: i64) -> Option<Self> {
        if quantity < 1 || self.0.available < quantity {
            return None;
        }
        let available = self.0.available - quantity;
        Some(Self(Books { available, reserved: self.0.reserved + quantity, ..self.0 }))
    }

    /// With `quantity` reserved units committed.
    ///
    /// # Errors
    /// When fewer are reserved.
    pub fn commit(&self, sku: &Sku, quantity: i64) -> Result<Self, Refusal> {
        let reserved = self.take_reserved(sku, quantity)?;
        Ok(Self(Books { reserved, committed: self.0.committed + quantity, ..self.0 }))
    }

    /// With `quantity` reserved units available again.
    ///
    /// # Errors
    /// When fewer are reserved.
    pub fn release(&self, sku: &Sku, quantity: i64) -> Result<Self, Refusal> {
        let reserved = self.take_reserved(sku, quantity)?;
        Ok(Self(Books { reserved, available: self.0.available + quantity, ..self.0 }))
    }

    fn take_reserved(&self, sku: &Sku, quantity: i64) -> Result<i64, Refusal> {
        let reserved = self.0.reserved;
        if quantity < 1 || reserved < quantity {
            return Err(Refusal::StockOutOfBalance { sku: sku.clone(), quantity, reserved });
        }
        Ok(reserved - quantity)
    }
}
