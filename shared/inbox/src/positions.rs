//! How far each partition has been applied. The database knows, not the broker.

use contracts::topics::Topic;
use messaging::TopicPartition;
use sqlx::PgConnection;
use uuid::Uuid;

/// What a batch finds under the lock of its partition's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The offset that has to come next.
    pub next_offset: i64,
    /// The oldest event id that the inbox still remembers.
    pub floor: Uuid,
    /// One behind the newest event id that the inbox accepts.
    pub ceiling: Uuid,
}

/// The position of a partition, begun at `low` when this service meets it for the first time.
pub(crate) async fn establish(
    conn: &mut PgConnection,
    partition: &TopicPartition,
    low: i64,
) -> Result<i64, sqlx::Error> {
    sqlx::query(
        "INSERT INTO inbox.consumer_positions (topic, partition, next_offset) VALUES ($1, $2, $3)
         ON CONFLICT (topic, partition) DO NOTHING",
    )
    .bind(&partition.topic)
    .bind(partition.partition)
    .bind(low)
    .execute(&mut *conn)
    .await?;
    sqlx::query_scalar("SELECT next_offset FROM inbox.consumer_positions WHERE topic = $1 AND partition = $2")
        .bind(&partition.topic)
        .bind(partition.partition)
        .fetch_one(conn)
        .await
}

/// Locks the partition's row until the transaction ends: two consumers of one partition take turns here.
pub(crate) async fn lock(
    conn: &mut PgConnection,
    partition: &TopicPartition,
) -> Result<Standing, sqlx::Error> {
    let (next_offset, floor, ceiling) = sqlx::query_as(
        "SELECT p.next_offset, r.floor, r.ceiling
         FROM inbox.consumer_positions p, inbox.id_range r
         WHERE p.topic = $1 AND p.partition = $2
         FOR UPDATE OF p",
    )
    .bind(&partition.topic)
    .bind(partition.partition)
    .fetch_one(conn)
    .await?;
    Ok(Standing { next_offset, floor, ceiling })
}

/// Moves the position behind the batch.
pub(crate) async fn advance(
    conn: &mut PgConnection,
    partition: &TopicPartition,
    next_offset: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE inbox.consumer_positions SET next_offset = $3, updated_at = now()
         WHERE topic = $1 AND partition = $2",
    )
    .bind(&partition.topic)
    .bind(partition.partition)
    .bind(next_offset)
    .execute(conn)
    .await?;
    Ok(())
}

/// Our group's label in metrics: the topic without its deployment's prefix.
pub(crate) fn label(topics: &contracts::Topics, name: &str) -> &'static str {
    topics.parse(name).map_or("other", Topic::suffix)
}
