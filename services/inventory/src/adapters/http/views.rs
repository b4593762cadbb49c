//! The JSON of requests and responses, with their bounds.

use serde::{Deserialize, Serialize};
use service::http::{Content, Faults, Field, Problem, UnknownFields};
use utoipa::{IntoParams, ToSchema};

use crate::domain::{Books, Sku};

/// The most units that one replenishment brings, and the largest threshold.
pub(super) const MAX_UNITS: i64 = 1_000_000_000_000;

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1_000;

/// One SKU's level. `replenished = available + reserved + committed`, always.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct StockView {
    /// The SKU.
    sku: String,
    /// All units that ever came.
    replenished: i64,
    /// Units that an order can still get.
    available: i64,
    /// Units held for orders that have not ended.
    reserved: i64,
    /// Units of confirmed orders.
    committed: i64,
    /// Below this many available units the SKU is low.
    reorder_threshold: i64,
    /// Whether it is low now.
    low: bool,
}

impl StockView {
    pub(super) fn new(sku: &Sku, books: Books) -> Self {
        Self {
            sku: sku.to_string(),
            replenished: books.replenished,
            available: books.available,
            reserved: books.reserved,
            committed: books.committed,
            reorder_threshold: books.reorder_threshold,
            low: crate::domain::StockLevel::restore(books).is_low(),
        }
    }
}

/// A page of levels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct StockPage {
    /// The levels, in the order of the SKUs.
    pub(super) items: Vec<StockView>,
    /// What to pass as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_cursor: Option<String>,
}

/// Which page.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    /// How many levels, 1 to 1,000; 100 by default.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[param(max_length = 64)]
    cursor: Option<String>,
}

/// A page within the bounds.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) after: String,
    pub(super) limit: i64,
}

impl Page {
    pub(super) fn length(&self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }
}

impl TryFrom<PageQuery> for Page {
    type Error = Problem;

    fn try_from(query: PageQuery) -> Result<Self, Problem> {
        let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Problem::validation(Vec::new()).detail(format!("limit is 1 to {MAX_LIMIT}")));
        }
        let after = query.cursor.filter(|cursor| !cursor.is_empty());
        if after.as_deref().is_some_and(|sku| Sku::published(sku).is_err()) {
            return Err(Problem::validation(Vec::new()).detail("cursor is the next_cursor of a page"));
        }
        Ok(Self { after: after.unwrap_or_default(), limit: i64::from(limit) })
    }
}

/// Units that come in. Unknown fields are refused.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Replenishment {
    /// How many units.
    #[schema(value_type = i64, minimum = 1, maximum = 1_000_000_000_000_i64)]
    quantity: Field<i128>,
    /// The SKU's reorder threshold from now on; unchanged if absent.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 1_000_000_000_000_i64)]
    reorder_threshold: Field<i128>,
    #[serde(skip)]
    #[schema(ignore)]
    unknown: UnknownFields,
}

impl Content for Replenishment {
    fn unknown(&mut self) -> Option<&mut UnknownFields> {
        Some(&mut self.unknown)
    }
}

impl Replenishment {
    /// Quantity and threshold, if both are in range.
    pub(super) fn units(self, faults: &mut Faults) -> Option<(i64, Option<i64>)> {
        faults.unknown("", &self.unknown);
        let quantity = faults.integer("/quantity", self.quantity, |units| in_range(units, 1));
        let threshold = match self.reorder_threshold {
            Field::Missing => Some(None),
            sent => faults.integer("/reorder_threshold", sent, |units| in_range(units, 0)).map(Some),
        };
        Some((quantity?, threshold?))
    }
}

fn in_range(units: i64, least: i64) -> Result<i64, String> {
    if (least..=MAX_UNITS).contains(&units) { Ok(units) } else { Err(format!("is {least} to {MAX_UNITS}")) }
}
