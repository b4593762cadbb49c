//! The table `order_events`: what happened to each order.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::StoreError;
use crate::adapters::stored;
use crate::application::Recorded;

/// Inserts the events, each under its id.
pub(super) async fn insert(
    conn: &mut PgConnection,
    journal: &[Recorded],
    event_ids: &[Uuid],
) -> Result<(), StoreError> {
    let metadata = journal.iter().zip(event_ids).map(|(recorded, id)| stored::metadata(*id, &recorded.cause));
    let mut stored = Vec::with_capacity(journal.len());
    for recorded in journal {
        let event =
            stored::store(&recorded.event).map_err(|error| StoreError::corrupt(recorded.order_id, error))?;
        stored.push(event);
    }
    sqlx::query(
        "INSERT INTO order_events (order_id, version, type, schema_version, data, metadata, occurred_at)
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::integer[], $5::jsonb[], $6::jsonb[],
                              $7::timestamptz[])",
    )
    .bind(journal.iter().map(|recorded| recorded.order_id.0).collect::<Vec<Uuid>>())
    .bind(journal.iter().map(|recorded| recorded.version).collect::<Vec<i64>>())
    .bind(stored.iter().map(|event| event.kind.as_str()).collect::<Vec<&str>>())
    .bind(stored.iter().map(|event| event.schema_version).collect::<Vec<i32>>())
    .bind(stored.iter().map(|event| &event.data).collect::<Vec<&Value>>())
    .bind(metadata.collect::<Vec<Value>>())
    .bind(journal.iter().map(|recorded| recorded.occurred_at).collect::<Vec<DateTime<Utc>>>())
    .execute(conn)
    .await?;
    Ok(())
}
