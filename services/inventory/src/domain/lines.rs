//! What an order asks for: units per SKU, repeated SKUs summed.

use std::collections::BTreeMap;

use super::{Refusal, Sku};

/// Units per SKU, each positive, in the order of the SKUs; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines(BTreeMap<Sku, i64>);

impl Lines {
    /// Sums the units of each SKU: an order may repeat one, and asks for all of them together.
    ///
    /// # Errors
    /// When there are no lines, a quantity is not positive, or a sum exceeds what can be counted.
    pub fn try_sum(lines: impl IntoIterator<Item = (Sku, i64)>) -> Result<Self, Refusal> {
        let mut summed = BTreeMap::<Sku, i64>::new();
        for (sku, quantity) in lines {
            if quantity < 1 {
                return Err(Refusal::QuantityNotPositive { sku, quantity });
            }
            let sum = summed.get(&sku).copied().unwrap_or(0).checked_add(quantity);
            match sum {
                Some(sum) => summed.insert(sku, sum),
                None => return Err(Refusal::TooMany { sku }),
            };
        }
        if summed.is_empty() { Err(Refusal::NoLines) } else { Ok(Self(summed)) }
    }

    /// In the order of the SKUs.
    pub fn iter(&self) -> impl Iterator<Item = (&Sku, i64)> + '_ {
        self.0.iter().map(|(sku, quantity)| (sku, *quantity))
    }
}
