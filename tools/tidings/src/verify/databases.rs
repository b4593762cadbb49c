//! Reads the five databases, each in one read-only transaction of one snapshot.

use std::collections::{HashMap, HashSet};

use anyhow::Context;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use uuid::Uuid;

use super::snapshot::{Analytics, DeadLetterRow, Delivery, OutboxRow, Snapshot};
use crate::services::ServiceName;
use crate::up::databases::{database_url, without_password};

/// All statements of one database see the same moment, and change nothing.
const ONE_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Reads everything that the checks compare.
///
/// # Errors
/// When a database can't be reached or lacks a table.
pub async fn read(postgres: &str) -> anyhow::Result<Snapshot> {
    let mut snapshot = Snapshot::default();
    for service in ServiceName::ALL {
        let mut database = open(postgres, service).await?;
        let mut conn = database.begin_with(ONE_SNAPSHOT).await?;
        let what = || format!("reading {}", service.database());
        let delivery = delivery(&mut conn).await.with_context(what)?;
        snapshot.delivery.insert(service, delivery);
        own_tables(service, &mut conn, &mut snapshot).await.with_context(what)?;
        unfinished(service, &mut conn, &mut snapshot).await.with_context(what)?;
        conn.rollback().await.with_context(what)?;
        database.close().await.with_context(what)?;
    }
    Ok(snapshot)
}

/// Reads only what tells whether work is under way: positions, waiting outbox rows, due work.
///
/// # Errors
/// When a database can't be reached or lacks a table.
pub async fn read_pending(postgres: &str) -> anyhow::Result<Snapshot> {
    let mut snapshot = Snapshot::default();
    for service in ServiceName::ALL {
        let mut database = open(postgres, service).await?;
        let mut conn = database.begin_with(ONE_SNAPSHOT).await?;
        let what = || format!("reading {}", service.database());
        let delivery = Delivery {
            positions: positions(&mut conn).await.with_context(what)?,
            outbox: waiting(&mut conn).await.with_context(what)?,
            ..Delivery::default()
        };
        snapshot.delivery.insert(service, delivery);
        unfinished(service, &mut conn, &mut snapshot).await.with_context(what)?;
        conn.rollback().await.with_context(what)?;
        database.close().await.with_context(what)?;
    }
    Ok(snapshot)
}

async fn open(postgres: &str, service: ServiceName) -> anyhow::Result<PgConnection> {
    let url = if postgres.contains("{service}") {
        postgres.replace("{service}", service.as_str())
    } else {
        database_url(postgres, &service.database())
    };
    let options: PgConnectOptions =
        url.parse().with_context(|| format!("{} is not a PostgreSQL URL", without_password(&url)))?;
    let connecting = || format!("connecting to {}", without_password(&url));
    let conn = tokio::time::timeout(std::time::Duration::from_secs(10), options.connect())
        .await
        .with_context(connecting)?
        .with_context(connecting)?;
    Ok(conn)
}

async fn delivery(conn: &mut PgConnection) -> sqlx::Result<Delivery> {
    // Before the snapshot: no table partition is dropped while messages are read.
    sqlx::query("LOCK TABLE outbox.messages IN ACCESS SHARE MODE").execute(&mut *conn).await?;
    let inbox: Vec<Uuid> =
        sqlx::query_scalar("SELECT event_id FROM inbox.events").fetch_all(&mut *conn).await?;
    let inbox_floor: Option<Uuid> =
        sqlx::query_scalar("SELECT floor FROM inbox.deduplication").fetch_optional(&mut *conn).await?;
    Ok(Delivery {
        outbox: outbox(conn).await?,
        blocked_keys: sqlx::query_scalar(
            "SELECT topic || ' ' || coalesce(encode(key, 'escape'), 'message ' || message_id) || ' (' || reason || '): ' || detail
             FROM outbox.blocked_keys ORDER BY blocked_at",
        )
        .fetch_all(&mut *conn)
        .await?,
        positions: positions(conn).await?,
        inbox: inbox.into_iter().collect::<HashSet<_>>(),
        inbox_floor: inbox_floor.unwrap_or_default(),
        dead_letters: dead_letters(conn).await?,
    })
}

async fn positions(conn: &mut PgConnection) -> sqlx::Result<HashMap<(String, i32), i64>> {
    let rows: Vec<(String, i32, i64)> =
        sqlx::query_as("SELECT topic, partition, next_offset FROM inbox.consumer_positions")
            .fetch_all(conn)
            .await?;
    Ok(rows.into_iter().map(|(topic, partition, next)| ((topic, partition), next)).collect())
}

type OutboxColumns = (Uuid, String, String, i64, bool);

fn outbox_row((event_id, topic, key, sequence, is_published): OutboxColumns) -> OutboxRow {
    OutboxRow { event_id, topic, key, sequence, is_published }
}

async fn outbox(conn: &mut PgConnection) -> sqlx::Result<Vec<OutboxRow>> {
    let rows: Vec<OutboxColumns> = sqlx::query_as(
        "SELECT m.event_id, m.topic, m.subject, m.sequence, u.id IS NULL
         FROM outbox.messages m LEFT JOIN outbox.unpublished() u USING (id)
         WHERE m.event_id IS NOT NULL ORDER BY id",
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(outbox_row).collect())
}

async fn waiting(conn: &mut PgConnection) -> sqlx::Result<Vec<OutboxRow>> {
    let rows: Vec<OutboxColumns> = sqlx::query_as(
        "SELECT event_id, topic, subject, sequence, false FROM outbox.unpublished() WHERE event_id IS NOT NULL",
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(outbox_row).collect())
}

async fn dead_letters(conn: &mut PgConnection) -> sqlx::Result<Vec<DeadLetterRow>> {
    type Columns = (String, i32, i64, Option<Vec<u8>>, Uuid, String);
    let rows: Vec<Columns> = sqlx::query_as(
        r#"SELECT topic, partition, "offset", key, event_id, reason FROM inbox.dead_letters ORDER BY id"#,
    )
    .fetch_all(conn)
    .await?;
    let letter = |(topic, partition, offset, key, event_id, reason): Columns| DeadLetterRow {
        topic,
        partition,
        offset,
        key: key.map(|key| String::from_utf8_lossy(&key).into_owned()).unwrap_or_default(),
        event_id,
        reason,
    };
    Ok(rows.into_iter().map(letter).collect())
}

async fn own_tables(
    service: ServiceName,
    conn: &mut PgConnection,
    snapshot: &mut Snapshot,
) -> sqlx::Result<()> {
    match service {
        ServiceName::Order => {
            snapshot.orders = sqlx::query_as(
                "SELECT order_id, status, reason, currency, total_minor, last_sequence FROM orders ORDER BY order_id",
            )
            .fetch_all(conn)
            .await?;
        }
        ServiceName::Inventory => {
            snapshot.stock = sqlx::query_as(
                "SELECT sku, replenished, available, reserved, committed FROM stock ORDER BY sku",
            )
            .fetch_all(&mut *conn)
            .await?;
            snapshot.reservations =
                sqlx::query_as("SELECT order_id, state FROM reservations").fetch_all(conn).await?;
        }
        ServiceName::Payment => {
            snapshot.payments = sqlx::query_as("SELECT order_id, payment_id, state FROM payments")
                .fetch_all(&mut *conn)
                .await?;
            snapshot.ledger = sqlx::query_as(
                "SELECT payment_id, step, amount_minor, currency FROM provider.ledger WHERE approved",
            )
            .fetch_all(conn)
            .await?;
        }
        ServiceName::Notification => {
            snapshot.mails = sqlx::query_as("SELECT order_id, kind FROM mails").fetch_all(conn).await?;
        }
        ServiceName::Analytics => snapshot.analytics = analytics(conn).await?,
    }
    Ok(())
}

/// The read models that readers see: those of the live generation.
async fn analytics(conn: &mut PgConnection) -> sqlx::Result<Analytics> {
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
    let alerts: Vec<(String, i64)> = sqlx::query_as(
        "SELECT a.sku, a.times_raised
         FROM stock_alerts a JOIN generations g USING (generation) WHERE g.state = 'live' AND a.times_raised > 0",
    )
    .fetch_all(&mut *conn)
    .await?;
    Ok(Analytics {
        funnel: funnel.into_iter().collect(),
        revenue: revenue.into_iter().map(|(currency, o, u, m)| (currency, (o, u, m))).collect(),
        sales: sales.into_iter().map(|(sku, units, minor)| (sku, (units, minor))).collect(),
        alerts: alerts.into_iter().collect(),
    })
}

async fn unfinished(
    service: ServiceName,
    conn: &mut PgConnection,
    snapshot: &mut Snapshot,
) -> sqlx::Result<()> {
    let (what, count): (&'static str, i64) = match service {
        ServiceName::Order => (
            "orders have not ended",
            sqlx::query_scalar("SELECT count(*) FROM orders WHERE status = 'placed'").fetch_one(conn).await?,
        ),
        ServiceName::Payment => (
            "payments have a step to do",
            sqlx::query_scalar("SELECT count(*) FROM payments WHERE due_at IS NOT NULL")
                .fetch_one(conn)
                .await?,
        ),
        ServiceName::Notification => (
            "mails are unsent",
            sqlx::query_scalar("SELECT count(*) FROM mails WHERE state = 'pending'").fetch_one(conn).await?,
        ),
        ServiceName::Inventory | ServiceName::Analytics => return Ok(()),
    };
    snapshot.unfinished.push((what, u64::try_from(count).unwrap_or_default()));
    Ok(())
}
