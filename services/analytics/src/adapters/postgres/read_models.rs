//! The read models of the live generation.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use database::{Database, Operation};

use crate::domain::{Bound, Revenue, Stage};

/// Sales of one SKU in one currency, of confirmed orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BestSeller {
    pub sku: String,
    /// ISO 4217.
    pub currency: String,
    pub units: i128,
    pub revenue_minor: i128,
}

/// SKU, units and revenue, as text: sums are `numeric`.
type SalesRow = (String, String, String);

fn best_sellers(rows: Vec<SalesRow>, currency: &str) -> Result<Vec<BestSeller>, sqlx::Error> {
    let best_seller = |(sku, units, revenue_minor): SalesRow| {
        let (units, revenue_minor) = (sum(&units)?, sum(&revenue_minor)?);
        Ok(BestSeller { sku, currency: currency.to_owned(), units, revenue_minor })
    };
    rows.into_iter().map(best_seller).collect()
}

/// A number of orders.
fn count(text: &str) -> Result<i64, sqlx::Error> {
    text.parse().map_err(|error| sqlx::Error::Decode(format!("the number {text}: {error}").into()))
}

/// A sum of money or units.
fn sum(text: &str) -> Result<i128, sqlx::Error> {
    text.parse().map_err(|error| sqlx::Error::Decode(format!("the sum {text}: {error}").into()))
}

/// A SKU that is low.
#[derive(Clone, Debug, PartialEq, Eq, sqlx_macros::FromRow)]
pub struct StandingAlert {
    pub sku: String,
    /// Units available when its last event was published.
    pub available: i64,
    pub threshold: i64,
    pub raised_at: DateTime<Utc>,
    pub times_raised: i64,
}

/// Cheap to clone. Its reads fail when the database refuses or does not answer.
#[derive(Clone, Debug)]
pub struct ReadModelStore {
    database: Database,
}

impl ReadModelStore {
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    /// Orders per stage.
    pub async fn funnel(&self) -> Result<BTreeMap<Stage, i64>, sqlx::Error> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT stage, orders::text FROM funnel_totals
             WHERE generation = (SELECT generation FROM generations WHERE state = 'live')",
        )
        .fetch_all(self.database.statement(Operation::Request))
        .await?;
        let row = |(stage, orders): (String, String)| Ok((stage, count(&orders)?));
        let orders: BTreeMap<String, i64> = rows.into_iter().map(row).collect::<Result<_, sqlx::Error>>()?;
        Ok(Stage::ALL
            .into_iter()
            .map(|stage| (stage, orders.get(stage.name()).copied().unwrap_or(0)))
            .collect())
    }

    /// Revenue per currency.
    pub async fn revenue(&self) -> Result<BTreeMap<String, Revenue>, sqlx::Error> {
        let rows: Vec<(String, String, String, String)> = sqlx::query_as(
            "SELECT currency, orders::text, units::text, revenue_minor::text FROM revenue_totals
             WHERE generation = (SELECT generation FROM generations WHERE state = 'live')",
        )
        .fetch_all(self.database.statement(Operation::Request))
        .await?;
        let entry = |(currency, orders, units, revenue_minor): (String, String, String, String)| {
            let (orders, units, revenue_minor) = (count(&orders)?, sum(&units)?, sum(&revenue_minor)?);
            Ok((currency, Revenue { orders, units, revenue_minor }))
        };
        rows.into_iter().map(entry).collect()
    }

    /// Over all currencies.
    pub async fn best_sellers(&self, limit: i64) -> Result<Vec<(String, i128)>, sqlx::Error> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT sku, sum(units)::text FROM best_sellers_totals
             WHERE generation = (SELECT generation FROM generations WHERE state = 'live')
             GROUP BY sku ORDER BY sum(units) DESC, sku LIMIT $1",
        )
        .bind(limit)
        .fetch_all(self.database.statement(Operation::Request))
        .await?;
        rows.into_iter().map(|(sku, units)| Ok((sku, sum(&units)?))).collect()
    }

    /// In one currency.
    pub async fn best_sellers_by_units(
        &self,
        currency: &str,
        limit: i64,
    ) -> Result<Vec<BestSeller>, sqlx::Error> {
        let rows: Vec<SalesRow> = sqlx::query_as(
            "SELECT sku, units::text, revenue_minor::text FROM best_sellers_totals
             WHERE generation = (SELECT generation FROM generations WHERE state = 'live') AND currency = $1
             ORDER BY best_sellers_totals.units DESC, sku LIMIT $2",
        )
        .bind(currency)
        .bind(limit)
        .fetch_all(self.database.statement(Operation::Request))
        .await?;
        best_sellers(rows, currency)
    }

    /// In one currency: amounts of several can't be compared.
    pub async fn best_sellers_by_revenue(
        &self,
        currency: &str,
        limit: i64,
    ) -> Result<Vec<BestSeller>, sqlx::Error> {
        let rows: Vec<SalesRow> = sqlx::query_as(
            "SELECT sku, units::text, revenue_minor::text FROM best_sellers_totals
             WHERE generation = (SELECT generation FROM generations WHERE state = 'live') AND currency = $1
             ORDER BY best_sellers_totals.revenue_minor DESC, sku LIMIT $2",
        )
        .bind(currency)
        .bind(limit)
        .fetch_all(self.database.statement(Operation::Request))
        .await?;
        best_sellers(rows, currency)
    }

    /// Confirmed orders per bucket, in ascending order.
    pub async fn time_to_confirm(&self) -> Result<Vec<(Bound, i64)>, sqlx::Error> {
        let rows: Vec<(i64, String)> = sqlx::query_as(
            "SELECT upper_bound_ms, orders::text FROM time_to_confirm_totals
             WHERE generation = (SELECT generation FROM generations WHERE state = 'live') ORDER BY upper_bound_ms",
        )
        .fetch_all(self.database.statement(Operation::Request))
        .await?;
        let bucket = |(upper_bound_ms, orders): (i64, String)| Ok((Bound(upper_bound_ms), count(&orders)?));
        rows.into_iter().map(bucket).collect()
    }

    /// The newest alert first.
    pub async fn standing_alerts(&self, limit: i64) -> Result<Vec<StandingAlert>, sqlx::Error> {
        sqlx::query_as(
            "SELECT sku, available, threshold, raised_at, times_raised FROM stock_alerts
             WHERE generation = (SELECT generation FROM generations WHERE state = 'live') AND raised_at IS NOT NULL
             ORDER BY raised_at DESC, sku LIMIT $1",
        )
        .bind(limit)
        .fetch_all(self.database.statement(Operation::Request))
        .await
    }
}
