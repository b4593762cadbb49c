//! The rows of analytics' read models: those of the live generation.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx_macros::FromRow;
use uuid::Uuid;

use crate::verify::keys::Keys;

/// analytics' rows of the live generation.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    pub(in crate::verify) generations: Vec<GenerationRow>,
    /// Generations that rows speak of, by table.
    pub(in crate::verify) mentioned: BTreeSet<(String, i32)>,
    pub(in crate::verify) orders: BTreeMap<Uuid, OrderRow>,
    pub(in crate::verify) funnel: BTreeMap<String, i128>,
    pub(in crate::verify) revenue: BTreeMap<String, [i128; 3]>,
    pub(in crate::verify) best_sellers: BTreeMap<String, [i128; 2]>,
    pub(in crate::verify) time_to_confirm: BTreeMap<i64, i128>,
    pub(in crate::verify) alerts: BTreeMap<String, AlertRow>,
}

#[derive(Clone, Debug, FromRow)]
pub(in crate::verify) struct GenerationRow {
    pub(in crate::verify) generation: i32,
    pub(in crate::verify) state: String,
    pub(in crate::verify) started_at: DateTime<Utc>,
    pub(in crate::verify) live_since: Option<DateTime<Utc>>,
    pub(in crate::verify) detail: Option<String>,
}

#[derive(Clone, Debug, FromRow)]
pub(in crate::verify) struct OrderRow {
    pub(in crate::verify) order_id: Uuid,
    pub(in crate::verify) status: String,
    pub(in crate::verify) reserved: bool,
    pub(in crate::verify) paid: bool,
    pub(in crate::verify) currency: Option<String>,
    pub(in crate::verify) lines: Option<Value>,
    pub(in crate::verify) placed_at: Option<DateTime<Utc>>,
    pub(in crate::verify) confirmed_at: Option<DateTime<Utc>>,
    pub(in crate::verify) reason: Option<String>,
}

#[derive(Clone, Debug, FromRow)]
pub(in crate::verify) struct AlertRow {
    pub(in crate::verify) sku: String,
    pub(in crate::verify) sequence: i64,
    pub(in crate::verify) available: i64,
    pub(in crate::verify) threshold: i64,
    pub(in crate::verify) raised_at: Option<DateTime<Utc>>,
    pub(in crate::verify) times_raised: i64,
}

/// Reads the live generation.
///
/// # Errors
/// When the database refuses.
pub(in crate::verify) async fn read(conn: &mut PgConnection) -> sqlx::Result<Rows> {
    // Sums are `numeric`.
    let funnel: Vec<(String, String)> = sqlx::query_as(
        "SELECT f.stage, f.orders::text
         FROM funnel_totals f JOIN generations g USING (generation) WHERE g.state = 'live'",
    )
    .fetch_all(&mut *conn)
    .await?;
    let revenue: Vec<(String, String, String, String)> = sqlx::query_as(
        "SELECT r.currency, r.orders::text, r.units::text, r.revenue_minor::text
         FROM revenue_totals r JOIN generations g USING (generation) WHERE g.state = 'live'",
    )
    .fetch_all(&mut *conn)
    .await?;
    let sales: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT b.currency || ' ' || b.sku, b.units::text, b.revenue_minor::text
         FROM best_sellers_totals b JOIN generations g USING (generation) WHERE g.state = 'live'",
    )
    .fetch_all(&mut *conn)
    .await?;
    let times: Vec<(i64, String)> = sqlx::query_as(
        "SELECT t.upper_bound_ms, t.orders::text
         FROM time_to_confirm_totals t JOIN generations g USING (generation) WHERE g.state = 'live'",
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
        funnel: funnel
            .into_iter()
            .map(|(stage, orders)| Ok((stage, sum(&orders)?)))
            .collect::<sqlx::Result<_>>()?,
        revenue: revenue
            .into_iter()
            .map(|(of, a, b, c)| Ok((of, [sum(&a)?, sum(&b)?, sum(&c)?])))
            .collect::<sqlx::Result<_>>()?,
        best_sellers: sales
            .into_iter()
            .map(|(of, a, b)| Ok((of, [sum(&a)?, sum(&b)?])))
            .collect::<sqlx::Result<_>>()?,
        time_to_confirm: times
            .into_iter()
            .map(|(bound, orders)| Ok((bound, sum(&orders)?)))
            .collect::<sqlx::Result<_>>()?,
        alerts: alerts.into_iter().map(|row| (row.sku.clone(), row)).collect(),
        ..Rows::default()
    })
}

fn sum(text: &str) -> sqlx::Result<i128> {
    text.parse().map_err(|error| sqlx::Error::Decode(format!("the sum {text}: {error}").into()))
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
             UNION SELECT 'funnel_by_partition', generation FROM funnel_by_partition
             UNION SELECT 'revenue_by_partition', generation FROM revenue_by_partition
             UNION SELECT 'best_sellers_by_partition', generation FROM best_sellers_by_partition
             UNION SELECT 'time_to_confirm_by_partition', generation FROM time_to_confirm_by_partition
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
