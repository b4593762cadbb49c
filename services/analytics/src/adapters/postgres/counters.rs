//! The counters: `funnel`, `revenue`, `best_sellers`, `time_to_confirm`.
//!
//! Batches of all partitions add to the same few rows. Each adds last, in the same order of tables and sorted within a
//! table, so that they take turns for the length of a commit and can't deadlock.

use sqlx::PgConnection;

use crate::domain::{Revenue, Sales, Tally};

/// Adds what a batch has counted.
pub(super) async fn add(conn: &mut PgConnection, generation: i32, tally: &Tally) -> Result<(), sqlx::Error> {
    if !tally.funnel.is_empty() {
        add_funnel(&mut *conn, generation, tally).await?;
    }
    if !tally.revenue.is_empty() {
        add_revenue(&mut *conn, generation, tally).await?;
        add_sales(&mut *conn, generation, tally).await?;
        add_times(conn, generation, tally).await?;
    }
    Ok(())
}

async fn add_funnel(conn: &mut PgConnection, generation: i32, tally: &Tally) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO funnel (generation, stage, orders)
         SELECT $1, n.stage, n.orders FROM unnest($2::text[], $3::bigint[]) AS n (stage, orders) ORDER BY n.stage
         ON CONFLICT (generation, stage) DO UPDATE SET orders = funnel.orders + excluded.orders",
    )
    .bind(generation)
    .bind(tally.funnel.keys().map(|stage| stage.name()).collect::<Vec<_>>())
    .bind(tally.funnel.values().copied().collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

async fn add_revenue(conn: &mut PgConnection, generation: i32, tally: &Tally) -> Result<(), sqlx::Error> {
    let column = |figure: fn(&Revenue) -> i64| tally.revenue.values().map(figure).collect::<Vec<_>>();
    sqlx::query(
        "INSERT INTO revenue (generation, currency, orders, units, revenue_minor)
         SELECT $1, n.currency, n.orders, n.units, n.revenue_minor
         FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
             AS n (currency, orders, units, revenue_minor)
         ORDER BY n.currency
         ON CONFLICT (generation, currency) DO UPDATE
         SET orders = revenue.orders + excluded.orders, units = revenue.units + excluded.units,
             revenue_minor = revenue.revenue_minor + excluded.revenue_minor",
    )
    .bind(generation)
    .bind(tally.revenue.keys().cloned().collect::<Vec<_>>())
    .bind(column(|revenue| revenue.orders))
    .bind(column(|revenue| revenue.units))
    .bind(column(|revenue| revenue.revenue_minor))
    .execute(conn)
    .await?;
    Ok(())
}

async fn add_sales(conn: &mut PgConnection, generation: i32, tally: &Tally) -> Result<(), sqlx::Error> {
    let column = |figure: fn(&Sales) -> i64| tally.sales.values().map(figure).collect::<Vec<_>>();
    let (currencies, skus): (Vec<String>, Vec<String>) = tally.sales.keys().cloned().unzip();
    sqlx::query(
        "INSERT INTO best_sellers (generation, currency, sku, units, revenue_minor)
         SELECT $1, n.currency, n.sku, n.units, n.revenue_minor
         FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[])
             AS n (currency, sku, units, revenue_minor)
         ORDER BY n.currency, n.sku
         ON CONFLICT (generation, currency, sku) DO UPDATE
         SET units = best_sellers.units + excluded.units,
             revenue_minor = best_sellers.revenue_minor + excluded.revenue_minor",
    )
    .bind(generation)
    .bind(currencies)
    .bind(skus)
    .bind(column(|sales| sales.units))
    .bind(column(|sales| sales.revenue_minor))
    .execute(conn)
    .await?;
    Ok(())
}

async fn add_times(conn: &mut PgConnection, generation: i32, tally: &Tally) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO time_to_confirm (generation, upper_bound_ms, orders)
         SELECT $1, n.upper_bound_ms, n.orders FROM unnest($2::bigint[], $3::bigint[]) AS n (upper_bound_ms, orders)
         ORDER BY n.upper_bound_ms
         ON CONFLICT (generation, upper_bound_ms) DO UPDATE SET orders = time_to_confirm.orders + excluded.orders",
    )
    .bind(generation)
    .bind(tally.time_to_confirm.keys().map(|bound| bound.0).collect::<Vec<_>>())
    .bind(tally.time_to_confirm.values().copied().collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}
