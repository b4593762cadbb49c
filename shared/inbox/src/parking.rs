//! Parking: what can't be applied is kept with its reason and bytes, and its key's later events wait behind it.
//!
//! Invariant: parking, the check whether a key is parked, and redrive all lock the key's `parked_keys` row, so that no
//! event slips past one that waits before it.

use std::collections::HashSet;

use messaging::{Delivered, TopicPartition};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error_policy::Rejection;

/// The reason of an event that is itself fine but waits behind a parked one.
pub(crate) const BEHIND: &str = "behind_parked";

/// A record to park.
#[derive(Debug)]
pub(crate) struct ToPark<'a> {
    pub(crate) record: &'a Delivered,
    pub(crate) event_id: Option<Uuid>,
    pub(crate) event_type: Option<&'static str>,
    pub(crate) rejection: Rejection,
}

/// Which of these keys have parked events. Locks their rows.
pub(crate) async fn lock_parked_keys(
    conn: &mut PgConnection,
    topic: &str,
    keys: &[&[u8]],
) -> Result<HashSet<Vec<u8>>, sqlx::Error> {
    let parked: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT key FROM inbox.parked_keys WHERE topic = $1 AND key = ANY($2) ORDER BY key FOR UPDATE",
    )
    .bind(topic)
    .bind(keys)
    .fetch_all(conn)
    .await?;
    Ok(parked.into_iter().collect())
}

/// Parks these records in this order.
pub(crate) async fn park(
    conn: &mut PgConnection,
    partition: &TopicPartition,
    parked: &[ToPark<'_>],
) -> Result<(), sqlx::Error> {
    let keys: Vec<&[u8]> = parked.iter().filter_map(|entry| entry.record.key.as_deref()).collect();
    sqlx::query(
        "INSERT INTO inbox.parked_keys (topic, key) SELECT DISTINCT $1, key FROM unnest($2::bytea[]) AS keys (key)
         ORDER BY key ON CONFLICT (topic, key) DO NOTHING",
    )
    .bind(&partition.topic)
    .bind(&keys)
    .execute(&mut *conn)
    .await?;
    for entry in parked {
        insert(conn, partition, entry).await?;
    }
    Ok(())
}

async fn insert(
    conn: &mut PgConnection,
    partition: &TopicPartition,
    entry: &ToPark<'_>,
) -> Result<(), sqlx::Error> {
    let (names, values): (Vec<&str>, Vec<&[u8]>) =
        entry.record.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).unzip();
    sqlx::query(
        r#"INSERT INTO inbox.parked
               (topic, partition, "offset", key, event_id, event_type, reason, detail, header_names, header_values, value)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
           ON CONFLICT (topic, partition, "offset") DO NOTHING"#,
    )
    .bind(&partition.topic)
    .bind(partition.partition)
    .bind(entry.record.offset)
    .bind(entry.record.key.as_deref())
    .bind(entry.event_id)
    .bind(entry.event_type)
    .bind(entry.rejection.reason)
    .bind(entry.rejection.detail.replace('\0', "\u{fffd}"))
    .bind(names)
    .bind(values)
    .bind(entry.record.value.as_deref())
    .execute(conn)
    .await?;
    Ok(())
}

/// How many events are parked, by topic and reason.
pub(crate) async fn count(conn: &mut PgConnection) -> Result<Vec<(String, String, i64)>, sqlx::Error> {
    sqlx::query_as("SELECT topic, reason, count(*) FROM inbox.parked GROUP BY topic, reason")
        .fetch_all(conn)
        .await
}
