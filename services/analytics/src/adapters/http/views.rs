//! The JSON of requests and responses, with their bounds.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use service::http::Problem;
use utoipa::{IntoParams, ToSchema};

use super::super::postgres::rebuilds::Rebuild;
use super::super::postgres::{BestSeller, StandingAlert};
use crate::domain::{Bound, Reason, Revenue, Stage};

const MAX_LIMIT: u32 = 1_000;

/// How many orders reached each stage.
#[derive(Serialize, ToSchema)]
pub(super) struct FunnelView {
    placed: i64,
    /// Their stock was reserved.
    reserved: i64,
    /// Their payment was completed.
    paid: i64,
    confirmed: i64,
    cancelled: CancelledView,
    /// Placed and neither confirmed nor cancelled yet.
    open: i64,
}

/// Cancelled orders by reason.
#[derive(Serialize, ToSchema)]
struct CancelledView {
    total: i64,
    out_of_stock: i64,
    payment_declined: i64,
    customer_request: i64,
    timed_out: i64,
    /// For a reason that this version doesn't know.
    unknown: i64,
}

impl FunnelView {
    pub(super) fn new(orders: &BTreeMap<Stage, i64>) -> Self {
        let at = |stage| orders.get(&stage).copied().unwrap_or(0);
        let because = |reason| at(Stage::Cancelled(reason));
        let cancelled = CancelledView {
            total: orders
                .iter()
                .filter(|(stage, _)| matches!(stage, Stage::Cancelled(_)))
                .map(|(_, n)| n)
                .sum(),
            out_of_stock: because(Reason::OutOfStock),
            payment_declined: because(Reason::PaymentDeclined),
            customer_request: because(Reason::CustomerRequest),
            timed_out: because(Reason::TimedOut),
            unknown: because(Reason::Unknown),
        };
        let (placed, confirmed) = (at(Stage::Placed), at(Stage::Confirmed));
        let open = (placed - confirmed - cancelled.total).max(0);
        Self { placed, reserved: at(Stage::Reserved), paid: at(Stage::Paid), confirmed, cancelled, open }
    }
}

/// Confirmed orders of one currency.
#[derive(Serialize, ToSchema)]
pub(super) struct RevenueView {
    /// ISO 4217.
    currency: String,
    orders: i64,
    /// A number of any size: it may exceed 2^53 and 64 bits.
    units: i128,
    /// In minor units of the currency. A number of any size: it may exceed 2^53 and 64 bits.
    revenue_minor: i128,
}

impl RevenueView {
    pub(super) const fn new(currency: String, revenue: Revenue) -> Self {
        let Revenue { orders, units, revenue_minor } = revenue;
        Self { currency, orders, units, revenue_minor }
    }
}

/// Of one currency, if the query names one; a list of all otherwise.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum RevenueAnswer {
    One(RevenueView),
    All(Vec<RevenueView>),
}

/// Which revenue.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct RevenueQuery {
    /// ISO 4217, such as GBP; all currencies if absent.
    #[param(pattern = "^[A-Z]{3}$")]
    currency: Option<String>,
}

impl RevenueQuery {
    pub(super) fn currency(self) -> Result<Option<String>, Problem> {
        checked_currency(self.currency)
    }
}

/// What one SKU sold in one currency, or its units in all.
#[derive(Serialize, ToSchema)]
pub(super) struct BestSellerView {
    sku: String,
    /// ISO 4217; absent over all currencies.
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<String>,
    /// A number of any size: it may exceed 2^53 and 64 bits.
    units: i128,
    /// In minor units of the currency; absent over all currencies, whose amounts are never added. A number of any size: it
    /// may exceed 2^53 and 64 bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    revenue_minor: Option<i128>,
}

impl BestSellerView {
    pub(super) const fn over_all_currencies(sku: String, units: i128) -> Self {
        Self { sku, currency: None, units, revenue_minor: None }
    }
}

impl From<BestSeller> for BestSellerView {
    fn from(BestSeller { sku, currency, units, revenue_minor }: BestSeller) -> Self {
        Self { sku, currency: Some(currency), units, revenue_minor: Some(revenue_minor) }
    }
}

/// What best sellers are ranked by.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum By {
    #[default]
    Units,
    Revenue,
}

/// Which best sellers.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct BestSellerQuery {
    /// `units` (by default) or `revenue`.
    #[serde(default)]
    #[param(inline)]
    by: By,
    /// How many, 1 to 1,000; 10 by default.
    #[param(minimum = 1, maximum = 1000, default = 10)]
    limit: Option<u32>,
    /// ISO 4217. Required with `by=revenue`. If absent, units are those of all currencies together.
    #[param(pattern = "^[A-Z]{3}$")]
    currency: Option<String>,
}

/// Which best sellers are asked for.
pub(super) enum Ranking {
    /// Over all currencies.
    Units,
    UnitsIn(String),
    RevenueIn(String),
}

impl BestSellerQuery {
    pub(super) fn parts(self) -> Result<(Ranking, i64), Problem> {
        let ranking = match (self.by, checked_currency(self.currency)?) {
            (By::Units, None) => Ranking::Units,
            (By::Units, Some(currency)) => Ranking::UnitsIn(currency),
            (By::Revenue, Some(currency)) => Ranking::RevenueIn(currency),
            (By::Revenue, None) => {
                return Err(invalid("currency is required with by=revenue".to_owned()));
            }
        };
        Ok((ranking, checked_limit(self.limit, 10)?))
    }
}

/// How long confirmed orders took.
#[derive(Serialize, ToSchema)]
pub(super) struct TimesView {
    /// Confirmed orders.
    count: i64,
    /// Half of them took at most this, within 3 %; absent while there are none. Likewise the others.
    p50_ms: Option<i64>,
    p90_ms: Option<i64>,
    p99_ms: Option<i64>,
    max_ms: Option<i64>,
    histogram: Vec<BucketView>,
}

/// Orders whose time lies above the bucket before and up to this bound.
#[derive(Serialize, ToSchema)]
struct BucketView {
    upper_bound_ms: i64,
    orders: i64,
}

impl TimesView {
    pub(super) fn new(buckets: &[(Bound, i64)]) -> Self {
        let percentile = |percent| Bound::percentile(buckets, percent).map(|bound| bound.0);
        Self {
            count: buckets.iter().map(|(_, orders)| orders).sum(),
            p50_ms: percentile(50),
            p90_ms: percentile(90),
            p99_ms: percentile(99),
            max_ms: percentile(100),
            histogram: buckets
                .iter()
                .map(|(bound, orders)| BucketView { upper_bound_ms: bound.0, orders: *orders })
                .collect(),
        }
    }
}

/// A SKU that is low.
#[derive(Serialize, ToSchema)]
pub(super) struct AlertView {
    sku: String,
    /// Units available when the SKU's last event was published.
    available: i64,
    threshold: i64,
    raised_at: DateTime<Utc>,
    /// How often the level has fallen below the threshold so far.
    times_raised: i64,
}

impl From<StandingAlert> for AlertView {
    fn from(StandingAlert { sku, available, threshold, raised_at, times_raised }: StandingAlert) -> Self {
        Self { sku, available, threshold, raised_at, times_raised }
    }
}

/// Which alerts.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct AlertQuery {
    /// How many, 1 to 1,000; 100 by default.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

impl AlertQuery {
    pub(super) fn limit(&self) -> Result<i64, Problem> {
        checked_limit(self.limit, 100)
    }
}

/// A generation of the read models.
#[derive(Serialize, ToSchema)]
pub(super) struct RebuildView {
    generation: i32,
    /// `building`, `live`, `retired` (another one is live since) or `failed`.
    state: String,
    started_at: DateTime<Utc>,
    /// When readers began to see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    live_since: Option<DateTime<Utc>>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// Why its last try failed; it is tried again while it is `building`.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
}

impl From<Rebuild> for RebuildView {
    fn from(rebuild: Rebuild) -> Self {
        let Rebuild { generation, state, started_at, live_since, detail, last_error } = rebuild;
        Self { generation, state, started_at, live_since, detail, last_error }
    }
}

fn checked_limit(limit: Option<u32>, default: u32) -> Result<i64, Problem> {
    let limit = limit.unwrap_or(default);
    if (1..=MAX_LIMIT).contains(&limit) {
        Ok(i64::from(limit))
    } else {
        Err(invalid(format!("limit is 1 to {MAX_LIMIT}")))
    }
}

fn checked_currency(currency: Option<String>) -> Result<Option<String>, Problem> {
    match currency {
        Some(code) if code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase()) => Ok(Some(code)),
        Some(_) => Err(invalid("currency is a code of ISO 4217, such as GBP".to_owned())),
        None => Ok(None),
    }
}

fn invalid(detail: String) -> Problem {
    Problem::validation(Vec::new()).detail(detail)
}
