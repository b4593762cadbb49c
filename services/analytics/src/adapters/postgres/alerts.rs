//! The table `stock_alerts`: one row per SKU.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use inbox::Locked;
use sqlx::PgConnection;

use crate::domain::Alert;

#[derive(sqlx_macros::FromRow)]
struct AlertRow {
    sku: String,
    sequence: i64,
    available: i64,
    threshold: i64,
    raised_at: Option<DateTime<Utc>>,
    times_raised: i64,
    /// By this transaction.
    is_inserted: bool,
}

/// Inserts the rows of unknown SKUs, and locks all of these, sorted, as [`super::orders::lock`] does.
pub(super) async fn lock(
    conn: &mut PgConnection,
    generation: i32,
    skus: &BTreeSet<&str>,
) -> Result<Locked<String, Alert>, sqlx::Error> {
    if skus.is_empty() {
        return Ok(Locked::default());
    }
    let skus: Vec<&str> = skus.iter().copied().collect();
    let mut rows: Vec<AlertRow> = sqlx::query_as(
        "WITH inserted AS (
             INSERT INTO stock_alerts (generation, sku)
             SELECT $1, n.sku FROM unnest($2::text[]) AS n (sku) ORDER BY n.sku
             ON CONFLICT (generation, sku) DO NOTHING
             RETURNING sku, sequence, available, threshold, raised_at, times_raised
         ), locked AS (
             SELECT sku, sequence, available, threshold, raised_at, times_raised
             FROM stock_alerts
             WHERE generation = $1 AND sku = ANY($2)
               AND (SELECT count(*) FROM inserted)
                   + (SELECT count(*) FROM stock_alerts WHERE generation = $1 AND sku = ANY($2)) = cardinality($2)
             ORDER BY sku FOR UPDATE
         )
         SELECT *, true AS is_inserted FROM inserted UNION ALL SELECT *, false FROM locked",
    )
    .bind(generation)
    .bind(&skus)
    .fetch_all(&mut *conn)
    .await?;
    let inserted: Vec<String> =
        rows.iter().filter(|row| row.is_inserted).map(|row| row.sku.clone()).collect();
    if rows.len() < skus.len() {
        rows = sqlx::query_as(
            "SELECT sku, sequence, available, threshold, raised_at, times_raised, false AS is_inserted
             FROM stock_alerts WHERE generation = $1 AND sku = ANY($2) ORDER BY sku FOR UPDATE",
        )
        .bind(generation)
        .bind(&skus)
        .fetch_all(conn)
        .await?;
    }
    let alert = |row: AlertRow| {
        let AlertRow { sku, sequence, available, threshold, raised_at, times_raised, is_inserted: _ } = row;
        (sku, Alert { sequence, available, threshold, raised_at, times_raised })
    };
    Ok(Locked::new(rows.into_iter().map(alert)).with_inserted(inserted))
}

/// Deletes the rows of SKUs of which no event was accepted.
pub(super) async fn delete_unused(
    conn: &mut PgConnection,
    generation: i32,
    alerts: &Locked<String, Alert>,
) -> Result<(), sqlx::Error> {
    let unused: Vec<&String> = alerts.unused().collect();
    if !unused.is_empty() {
        let delete = sqlx::query("DELETE FROM stock_alerts WHERE generation = $1 AND sku = ANY($2)");
        delete.bind(generation).bind(unused).execute(conn).await?;
    }
    Ok(())
}

/// Stores the alerts that have changed.
pub(super) async fn store(
    conn: &mut PgConnection,
    generation: i32,
    alerts: &Locked<String, Alert>,
) -> Result<(), sqlx::Error> {
    let (skus, alerts): (Vec<&String>, Vec<&Alert>) = alerts.changed().unzip();
    if skus.is_empty() {
        return Ok(());
    }
    let column = |figure: fn(&Alert) -> i64| alerts.iter().map(|alert| figure(alert)).collect::<Vec<_>>();
    sqlx::query(
        "UPDATE stock_alerts a
         SET sequence = n.sequence, available = n.available, threshold = n.threshold, raised_at = n.raised_at,
             times_raised = n.times_raised
         FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::timestamptz[], $7::bigint[])
             AS n (sku, sequence, available, threshold, raised_at, times_raised)
         WHERE a.generation = $1 AND a.sku = n.sku",
    )
    .bind(generation)
    .bind(skus)
    .bind(column(|alert| alert.sequence))
    .bind(column(|alert| alert.available))
    .bind(column(|alert| alert.threshold))
    .bind(alerts.iter().map(|alert| alert.raised_at).collect::<Vec<_>>())
    .bind(column(|alert| alert.times_raised))
    .execute(conn)
    .await?;
    Ok(())
}
