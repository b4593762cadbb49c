//! analytics' read models: those of the live generation.

mod alerts;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use contracts::order::{OrderCancelled, OrderConfirmed, OrderPlaced};
use contracts::payment::PaymentCompleted;
use contracts::reservation::StockReserved;
use serde_json::{Value, json};
use sqlx::PgConnection;
use sqlx_macros::FromRow;
use uuid::Uuid;

use super::reason_name;
use crate::services::ServiceName;
use crate::verify::case::{Case, Occurrence, first};
use crate::verify::check::Check;
use crate::verify::keys::Keys;
use crate::verify::report::Comparisons;
use crate::verify::totals::{self, Totals};

pub(in crate::verify) use alerts::skus;

const ANALYTICS: ServiceName = ServiceName::Analytics;

/// analytics' rows of the live generation.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    generations: Vec<GenerationRow>,
    /// Generations that rows speak of, by table.
    mentioned: BTreeSet<(String, i32)>,
    orders: BTreeMap<Uuid, OrderRow>,
    funnel: BTreeMap<String, i128>,
    revenue: BTreeMap<String, [i128; 3]>,
    best_sellers: BTreeMap<String, [i128; 2]>,
    time_to_confirm: BTreeMap<i64, i128>,
    alerts: BTreeMap<String, AlertRow>,
}

#[derive(Clone, Debug, FromRow)]
struct GenerationRow {
    generation: i32,
    state: String,
    started_at: DateTime<Utc>,
    live_since: Option<DateTime<Utc>>,
    detail: Option<String>,
}

#[derive(Clone, Debug, FromRow)]
struct OrderRow {
    order_id: Uuid,
    status: String,
    reserved: bool,
    paid: bool,
    currency: Option<String>,
    lines: Option<Value>,
    placed_at: Option<DateTime<Utc>>,
    confirmed_at: Option<DateTime<Utc>>,
    reason: Option<String>,
}

#[derive(Clone, Debug, FromRow)]
struct AlertRow {
    sku: String,
    sequence: i64,
    available: i64,
    threshold: i64,
    raised_at: Option<DateTime<Utc>>,
    times_raised: i64,
}

/// Reads the live generation.
///
/// # Errors
/// When the database refuses.
pub(in crate::verify) async fn read(conn: &mut PgConnection) -> sqlx::Result<Rows> {
    let funnel: Vec<(String, i64)> = sqlx::query_as(
        "SELECT f.stage, f.orders FROM funnel f JOIN generations g USING (generation) WHERE g.state = 'live'",
    )
    .fetch_all(&mut *conn)
    .await?;
    let revenue: Vec<(String, i64, i64, i64)> = sqlx::query_as(
        "SELECT r.currency, r.orders, r.units, r.revenue_minor
         FROM revenue r JOIN generations g USING (generation) WHERE g.state = 'live'",
    )
    .fetch_all(&mut *conn)
    .await?;
    let sales: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT b.currency || ' ' || b.sku, b.units, b.revenue_minor
         FROM best_sellers b JOIN generations g USING (generation) WHERE g.state = 'live'",
    )
    .fetch_all(&mut *conn)
    .await?;
    let times: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT t.upper_bound_ms, t.orders
         FROM time_to_confirm t JOIN generations g USING (generation) WHERE g.state = 'live'",
    )
    .fetch_all(&mut *conn)
    .await?;
    let alerts: Vec<AlertRow> = sqlx::query_as(
        "SELECT a.sku, a.sequence, a.available, a.threshold, a.raised_at, a.times_raised
         FROM stock_alerts a JOIN generations g USING (generation) WHERE g.state = 'live'",
    )
    .fetch_all(&mut *conn)
    .await?;
    Ok(Rows {
        generations: sqlx::query_as(
            "SELECT generation, state, started_at, live_since, detail FROM generations ORDER BY generation",
        )
        .fetch_all(conn)
        .await?,
        funnel: funnel.into_iter().map(|(stage, orders)| (stage, orders.into())).collect(),
        revenue: revenue.into_iter().map(|(of, a, b, c)| (of, [a, b, c].map(i128::from))).collect(),
        best_sellers: sales.into_iter().map(|(of, a, b)| (of, [a, b].map(i128::from))).collect(),
        time_to_confirm: times.into_iter().map(|(bound, orders)| (bound, orders.into())).collect(),
        alerts: alerts.into_iter().map(|row| (row.sku.clone(), row)).collect(),
        ..Rows::default()
    })
}

impl Rows {
    /// Keeps the rows of these orders only.
    pub(in crate::verify) fn retain(&mut self, keep: &dyn Fn(&Uuid) -> bool) {
        self.orders.retain(|id, _| keep(id));
    }

    /// Adds the generations that rows speak of.
    ///
    /// # Errors
    /// When the database refuses.
    pub(in crate::verify) async fn add_mentioned(&mut self, conn: &mut PgConnection) -> sqlx::Result<()> {
        let mentioned: Vec<(String, i32)> = sqlx::query_as(
            "SELECT 'orders', generation FROM orders UNION SELECT 'funnel', generation FROM funnel
             UNION SELECT 'revenue', generation FROM revenue UNION SELECT 'best_sellers', generation FROM best_sellers
             UNION SELECT 'time_to_confirm', generation FROM time_to_confirm
             UNION SELECT 'stock_alerts', generation FROM stock_alerts",
        )
        .fetch_all(conn)
        .await?;
        self.mentioned = mentioned.into_iter().collect();
        Ok(())
    }

    /// Adds the rows of these orders.
    ///
    /// # Errors
    /// When the database refuses.
    pub(in crate::verify) async fn add_orders(
        &mut self,
        conn: &mut PgConnection,
        keys: &Keys,
    ) -> sqlx::Result<()> {
        let orders: Vec<OrderRow> = keys.bind(sqlx::query_as("SELECT o.order_id, o.status, o.reserved, o.paid, o.currency, o.lines, o.placed_at, o.confirmed_at, o.reason
             FROM generations g JOIN orders o USING (generation)
             WHERE g.state = 'live' AND o.order_id BETWEEN $1 AND $2 AND ($3::uuid[] IS NULL OR o.order_id = ANY($3))"))
        .fetch_all(conn)
        .await?;
        self.orders.extend(orders.into_iter().map(|row| (row.order_id, row)));
        Ok(())
    }
}

/// The counters that the applied events come to.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    funnel: BTreeMap<String, i128>,
    revenue: BTreeMap<String, [i128; 3]>,
    best_sellers: BTreeMap<String, [i128; 2]>,
    time_to_confirm: BTreeMap<i64, i128>,
}

/// Compares what analytics remembers of orders with what it has applied; adds what they count.
pub(in crate::verify) fn orders(case: &Case<'_>, totals: &mut Totals, out: &mut Comparisons) {
    let rows = &case.snapshot.analytics;
    let mut known = BTreeSet::new();
    for order_id in case.orders.keys() {
        let applied = case.applied(ANALYTICS, *order_id);
        if !applied.is_empty() {
            known.insert(*order_id);
            let counted = &mut totals.of(case, *order_id).counted;
            order(*order_id, rows.orders.get(order_id), &applied, counted, out);
        }
    }
    for order_id in rows.orders.keys().filter(|id| !known.contains(id)) {
        out.violated(
            Check::CountedOrders,
            format!("order {order_id}: analytics counts it, and has applied nothing of it"),
        );
    }
}

/// Compares the counters with what all orders count, and the generations.
pub(in crate::verify) fn whole(case: &Case<'_>, counted: &Counted, out: &mut Comparisons) {
    let rows = &case.snapshot.analytics;
    generations(case, rows, out);
    differences(Check::Funnel, "the funnel's", &rows.funnel, &counted.funnel, out);
    differences(Check::Revenue, "revenue in", &rows.revenue, &counted.revenue, out);
    differences(Check::BestSellers, "sales of", &rows.best_sellers, &counted.best_sellers, out);
    let times = (&rows.time_to_confirm, &counted.time_to_confirm);
    differences(Check::TimeToConfirm, "confirmed within ms", times.0, times.1, out);
}

fn generations(case: &Case<'_>, rows: &Rows, out: &mut Comparisons) {
    const CHECK: Check = Check::Generations;
    let live: Vec<i32> =
        rows.generations.iter().filter(|row| row.state == "live").map(|row| row.generation).collect();
    out.holds(CHECK, live.len() == 1, || format!("the generations {live:?} are live"));
    let numbers: Vec<i32> = rows.generations.iter().map(|row| row.generation).collect();
    out.holds(CHECK, numbers.iter().copied().eq((1..).take(numbers.len())), || {
        format!("the generations {numbers:?} are not numbered one after the other")
    });
    let taken_at = case.taken_at(ANALYTICS);
    for row in &rows.generations {
        let subject = format!("generation {}", row.generation);
        let was_live = ["live", "retired"].contains(&row.state.as_str());
        out.same(CHECK, &subject, "it was live", &row.live_since.is_some(), &was_live);
        out.same(CHECK, &subject, "it has failed", &row.detail.is_some(), &(row.state == "failed"));
        case.plausible(out, CHECK, &subject, "started_at", row.started_at, (DateTime::UNIX_EPOCH, taken_at));
        if let Some(at) = row.live_since {
            case.plausible(out, CHECK, &subject, "live_since", at, (row.started_at, taken_at));
        }
    }
    for (table, generation) in &rows.mentioned {
        out.holds(CHECK, numbers.contains(generation), || {
            format!("{table} has rows of generation {generation}, which is not there")
        });
    }
}

fn order(
    order_id: Uuid,
    row: Option<&OrderRow>,
    applied: &[Occurrence<'_>],
    counted: &mut Counted,
    out: &mut Comparisons,
) {
    const CHECK: Check = Check::CountedOrders;
    let subject = format!("analytics' order {order_id}");
    let placed = first::<OrderPlaced>(applied).map(|(event, _)| event);
    let confirmed = first::<OrderConfirmed>(applied).map(|(event, _)| event);
    let cancelled = first::<OrderCancelled>(applied).map(|(event, _)| event);
    let is_reserved = first::<StockReserved>(applied).is_some();
    let is_paid = first::<PaymentCompleted>(applied).is_some();
    counted.count(placed, confirmed, cancelled, (is_reserved, is_paid));
    let Some(row) = row else {
        out.violated(CHECK, format!("{subject} is not there: it would be counted again"));
        return;
    };
    let status = match (placed, confirmed, cancelled) {
        (Some(_), Some(_), _) => "confirmed",
        (None, Some(_), _) => "confirmed_before_placed",
        (Some(_), None, Some(_)) => "cancelled",
        (None, None, Some(_)) => "cancelled_before_placed",
        (Some(_), None, None) => "placed",
        (None, None, None) => "unknown",
    };
    let open = placed.filter(|_| status == "placed");
    let lines = open.map(|placed| {
        let line = |line: &contracts::order::OrderLine| {
            json!({ "sku": line.sku, "quantity": line.quantity, "unit_price_minor": line.unit_price_minor })
        };
        Value::Array(placed.lines.iter().map(line).collect())
    });
    let early = confirmed.filter(|_| status == "confirmed_before_placed");
    out.same(CHECK, &subject, "order_id", &row.order_id, &order_id);
    out.same(CHECK, &subject, "status", &row.status.as_str(), &status);
    out.same(CHECK, &subject, "reserved", &row.reserved, &is_reserved);
    out.same(CHECK, &subject, "paid", &row.paid, &is_paid);
    out.same(CHECK, &subject, "currency", &row.currency.as_ref(), &open.map(|placed| &placed.currency));
    out.same(CHECK, &subject, "lines", &row.lines, &lines);
    out.same(CHECK, &subject, "placed_at", &row.placed_at, &open.map(|placed| placed.occurred_at));
    out.same(CHECK, &subject, "confirmed_at", &row.confirmed_at, &early.map(|event| event.occurred_at));
    let reason = cancelled.map(|event| reason_name(event.reason));
    out.same(CHECK, &subject, "reason", &row.reason.as_deref(), &reason);
}

impl Counted {
    /// Adds what other orders come to.
    pub(in crate::verify) fn add_all(&mut self, other: &Self) {
        totals::add(&mut self.funnel, &other.funnel, |sum, orders| *sum += orders);
        totals::add(&mut self.revenue, &other.revenue, totals::add_each);
        totals::add(&mut self.best_sellers, &other.best_sellers, totals::add_each);
        totals::add(&mut self.time_to_confirm, &other.time_to_confirm, |sum, orders| *sum += orders);
    }

    fn count(
        &mut self,
        placed: Option<&OrderPlaced>,
        confirmed: Option<&OrderConfirmed>,
        cancelled: Option<&OrderCancelled>,
        (is_reserved, is_paid): (bool, bool),
    ) {
        let cancelled_stage = cancelled.map(|event| format!("cancelled_{}", reason_name(event.reason)));
        for stage in [
            placed.map(|_| "placed"),
            is_reserved.then_some("reserved"),
            is_paid.then_some("paid"),
            confirmed.map(|_| "confirmed"),
            cancelled_stage.as_deref(),
        ]
        .into_iter()
        .flatten()
        {
            *self.funnel.entry(stage.to_owned()).or_default() += 1;
        }
        let (Some(placed), Some(confirmed)) = (placed, confirmed) else { return };
        let revenue = self.revenue.entry(placed.currency.clone()).or_default();
        revenue[0] += 1;
        for line in &placed.lines {
            let units = i128::from(line.quantity);
            let minor = units * i128::from(line.unit_price_minor);
            revenue[1] += units;
            revenue[2] += minor;
            let sales = self.best_sellers.entry(format!("{} {}", placed.currency, line.sku)).or_default();
            sales[0] += units;
            sales[1] += minor;
        }
        let milliseconds = (confirmed.occurred_at - placed.occurred_at).num_milliseconds();
        *self.time_to_confirm.entry(upper_bound(milliseconds)).or_default() += 1;
    }
}

/// The upper bound of the bucket of a duration in milliseconds: 32 buckets each time that it doubles, as HdrHistogram has
/// them.
const fn upper_bound(milliseconds: i64) -> i64 {
    if milliseconds <= 0 {
        return 0;
    }
    let mut width = 1_i64;
    while milliseconds / width >= 64 {
        width *= 2;
    }
    milliseconds / width * width + (width - 1)
}

fn differences<K: Ord + std::fmt::Display, T: PartialEq + std::fmt::Debug>(
    check: Check,
    what: &str,
    found: &BTreeMap<K, T>,
    expected: &BTreeMap<K, T>,
    out: &mut Comparisons,
) {
    let keys: BTreeSet<&K> = found.keys().chain(expected.keys()).collect();
    for key in keys {
        out.same(
            check,
            &format!("analytics' {what} {key}"),
            "its figure",
            &found.get(key),
            &expected.get(key),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::upper_bound;

    #[test]
    fn a_bucket_holds_what_differs_by_three_per_cent_at_most() {
        let bounds = [-5, 0, 1, 63, 64, 65, 127, 128, 1_000].map(upper_bound);
        assert_eq!(bounds, [0, 0, 1, 63, 65, 65, 127, 131, 1_007]);
    }
}
