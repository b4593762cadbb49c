//! The read models of the live generation.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use database::{Database, Operation};

use crate::domain::{Bound, Revenue, Stage};

/// Sales of one SKU in one currency, of confirmed orders.
#[derive(Clone, Debug, PartialEq, Eq, sqlx_macros::FromRow)]
pub struct BestSeller {
    pub sku: String,
    /// ISO 4217.
    pub currency: String,
    pub units: i64,
    pub revenue_minor: i64,
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
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT stage, orders FROM funnel
             WHERE generation = (SELECT generation FROM generations WHERE state = 'live')",
        )
        .fetch_all(self.database.statement(Operation::Request))
        .await?;
        let orders: BTreeMap<String, i64> = rows.into_iter().collect();
        Ok(Stage::ALL
            .into_iter()
            .map(|stage| (stage, orders.get(stage.name()).copied().unwrap_or(0)))
            .collect())
    }

    /// Revenue per currency.
    pub async fn revenue(&self) -> Result<BTreeMap<String, Revenue>, sqlx::Error> {
        let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(
            "SELECT currency, orders, units, revenue_minor FROM revenue
             WHERE generation = (SELECT generation FROM generations WHERE state = 'live')",
        )
        .fetch_all(self.database.statement(Operation::Request))
        .await?;
        let entry =
            |(currency, orders, units, revenue_minor)| (currency, Revenue { orders, units, revenue_minor });
        Ok(rows.into_iter().map(entry).collect())
    }

    /// Over all currencies.
    pub async fn best_sellers(&self, limit: i64) -> Result<Vec<(String, i64)>, sqlx::Error> {
        sqlx::query_as(
            "SELECT sku, sum(units)::bigint FROM best_sellers
             WHERE generation = (SELECT generation FROM generations WHERE state = 'live')
             GROUP BY sku ORDER BY sum(units) DESC, sku LIMIT $1",
        )
        .bind(limit)
        .fetch_all(self.database.statement(Operation::Request))
        .await
    }

    /// In one currency.
    pub async fn best_sellers_by_units(
        &self,
        currency: &str,
        limit: i64,
    ) -> Result<Vec<BestSeller>, sqlx::Error> {
        sqlx::query_as(
            "SELECT sku, currency, units, revenue_minor FROM best_sellers
             WHERE generation = (SELECT generation FROM generations WHERE state = 'live') AND currency = $1
             ORDER BY units DESC, sku LIMIT $2",
        )
        .bind(currency)
        .bind(limit)
        .fetch_all(self.database.statement(Operation::Request))
        .await
    }

    /// In one currency: amounts of several can't be compared.
    pub async fn best_sellers_by_revenue(
        &self,
        currency: &str,
        limit: i64,
    ) -> Result<Vec<BestSeller>, sqlx::Error> {
        sqlx::query_as(
            "SELECT sku, currency, units, revenue_minor FROM best_sellers
             WHERE generation = (SELECT generation FROM generations WHERE state = 'live') AND currency = $1
             ORDER BY revenue_minor DESC, sku LIMIT $2",
        )
        .bind(currency)
        .bind(limit)
        .fetch_all(self.database.statement(Operation::Request))
        .await
    }

    /// Confirmed orders per bucket, in ascending order.
    pub async fn time_to_confirm(&self) -> Result<Vec<(Bound, i64)>, sqlx::Error> {
        let rows: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT upper_bound_ms, orders FROM time_to_confirm
             WHERE generation = (SELECT generation FROM generations WHERE state = 'live') ORDER BY upper_bound_ms",
        )
        .fetch_all(self.database.statement(Operation::Request))
        .await?;
        Ok(rows.into_iter().map(|(upper_bound_ms, orders)| (Bound(upper_bound_ms), orders)).collect())
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
