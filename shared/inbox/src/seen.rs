//! Which events are new: the primary key on the event id decides, not a look before.

use std::collections::HashSet;

use messaging::TopicPartition;
use sqlx::PgConnection;
use uuid::Uuid;

/// Inserts the ids (each once) and gives those that were not there. A transaction that inserts the same id at the same
/// time is waited for.
pub(crate) async fn insert_new(
    conn: &mut PgConnection,
    partition: &TopicPartition,
    ids: &[Uuid],
    offsets: &[i64],
) -> Result<HashSet<Uuid>, sqlx::Error> {
    let new: Vec<Uuid> = sqlx::query_scalar(
        r#"INSERT INTO inbox.events (event_id, topic, partition, "offset")
           SELECT id, $1, $2, position FROM unnest($3::uuid[], $4::bigint[]) AS batch (id, position) ORDER BY id
           ON CONFLICT (event_id) DO NOTHING
           RETURNING event_id"#,
    )
    .bind(&partition.topic)
    .bind(partition.partition)
    .bind(ids)
    .bind(offsets)
    .fetch_all(conn)
    .await?;
    Ok(new.into_iter().collect())
}

/// Makes partitions ahead of time and drops those that `remember_days` no longer asks for (0 keeps all).
pub(crate) async fn maintain(conn: &mut PgConnection, remember_days: u32) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT inbox.add_partitions(now() + interval '4 weeks')").execute(&mut *conn).await?;
    if remember_days > 0 {
        sqlx::query("SELECT inbox.drop_partitions(now() - make_interval(days => $1))")
            .bind(i32::try_from(remember_days).unwrap_or(i32::MAX))
            .execute(conn)
            .await?;
    }
    Ok(())
}
