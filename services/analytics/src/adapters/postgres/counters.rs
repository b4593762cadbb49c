//! The counters: `funnel`, `revenue`, `best_sellers`, `time_to_confirm`.
//!
//! Batches of all partitions add to the same few rows. Each adds last, in the same order of tables and sorted within a
//! table, so that they take turns for the length of a commit and can't deadlock.

use sqlx::PgConnection;

use crate::domain::{Revenue, Sales, Tally};

/// Numbers of 128 bits are bound as text, which PostgreSQL turns into `numeric`.
fn numerics<T>(rows: impl Iterator<Item = T>, figure: fn(T) -> i128) -> Vec<String> {
    rows.map(|row| figure(row).to_string()).collect()
}

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
    let revenue = || tally.revenue.values();
    sqlx::query(
        "INSERT INTO revenue AS r
             (generation, currency, orders, units, units_carried, revenue_minor, revenue_minor_carried)
         SELECT $1, n.currency, n.orders, kept(n.units), n.units - kept(n.units),
             kept(n.minor), n.minor - kept(n.minor)
         FROM unnest($2::text[], $3::bigint[], $4::text[]::numeric[], $5::text[]::numeric[])
             AS n (currency, orders, units, minor)
         ORDER BY n.currency
         ON CONFLICT (generation, currency) DO UPDATE
         SET orders = r.orders + excluded.orders,
             units = kept(r.units::numeric + excluded.units),
             units_carried = r.units_carried + excluded.units_carried
                 + r.units + excluded.units - kept(r.units::numeric + excluded.units),
             revenue_minor = kept(r.revenue_minor::numeric + excluded.revenue_minor),
             revenue_minor_carried = r.revenue_minor_carried + excluded.revenue_minor_carried
                 + r.revenue_minor + excluded.revenue_minor
                 - kept(r.revenue_minor::numeric + excluded.revenue_minor)",
    )
    .bind(generation)
    .bind(tally.revenue.keys().cloned().collect::<Vec<_>>())
    .bind(revenue().map(|revenue| revenue.orders).collect::<Vec<_>>())
    .bind(numerics(revenue(), |revenue: &Revenue| revenue.units))
    .bind(numerics(revenue(), |revenue: &Revenue| revenue.revenue_minor))
    .execute(conn)
    .await?;
    Ok(())
}

async fn add_sales(conn: &mut PgConnection, generation: i32, tally: &Tally) -> Result<(), sqlx::Error> {
    let sales = || tally.sales.values();
    let (currencies, skus): (Vec<String>, Vec<String>) = tally.sales.keys().cloned().unzip();
    sqlx::query(
        "INSERT INTO best_sellers AS b
             (generation, currency, sku, units, units_carried, revenue_minor, revenue_minor_carried)
         SELECT $1, n.currency, n.sku, kept(n.units), n.units - kept(n.units),
             kept(n.minor), n.minor - kept(n.minor)
         FROM unnest($2::text[], $3::text[], $4::text[]::numeric[], $5::text[]::numeric[])
             AS n (currency, sku, units, minor)
         ORDER BY n.currency, n.sku
         ON CONFLICT (generation, currency, sku) DO UPDATE
         SET units = kept(b.units::numeric + excluded.units),
             units_carried = b.units_carried + excluded.units_carried
                 + b.units + excluded.units - kept(b.units::numeric + excluded.units),
             revenue_minor = kept(b.revenue_minor::numeric + excluded.revenue_minor),
             revenue_minor_carried = b.revenue_minor_carried + excluded.revenue_minor_carried
                 + b.revenue_minor + excluded.revenue_minor
                 - kept(b.revenue_minor::numeric + excluded.revenue_minor)",
    )
    .bind(generation)
    .bind(currencies)
    .bind(skus)
    .bind(numerics(sales(), |sales: &Sales| sales.units))
    .bind(numerics(sales(), |sales: &Sales| sales.revenue_minor))
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
