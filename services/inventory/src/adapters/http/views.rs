//! What the HTTP edge says and hears: JSON shapes and their bounds.

use serde::{Deserialize, Serialize};
use service::http::{Fault, Problem};
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
    /// How many levels, 1 to 1,000; 100 unless told.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page that can be asked for.
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
        Ok(Self { after: query.cursor.unwrap_or_default(), limit: i64::from(limit) })
    }
}

/// Units that come in.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Replenishment {
    /// How many units.
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
    pub(super) quantity: i64,
    /// The SKU's reorder threshold from now on; unchanged if absent.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
    pub(super) reorder_threshold: Option<i64>,
}

impl Replenishment {
    /// Everything that is out of range.
    pub(super) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if !(1..=MAX_UNITS).contains(&self.quantity) {
            faults.push(Fault { pointer: "/quantity".to_owned(), detail: format!("is 1 to {MAX_UNITS}") });
        }
        if self.reorder_threshold.is_some_and(|threshold| !(0..=MAX_UNITS).contains(&threshold)) {
            faults.push(Fault {
                pointer: "/reorder_threshold".to_owned(),
                detail: format!("is 0 to {MAX_UNITS}"),
            });
        }
        faults
    }
}
