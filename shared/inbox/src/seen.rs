//! Which events are new, and what became of those that are not: the primary key on the event id decides, not a look before.

use std::collections::HashSet;

use messaging::TopicPartition;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::ends::Ends;

/// Handled, with its effect.
pub(crate) const APPLIED: &str = "applied";
pub(crate) const DEAD_LETTERED: &str = "dead_lettered";
/// A dead letter, because its id lies below the floor: whether it was applied before can't be known.
pub(crate) const UNDECIDABLE: &str = "undecidable";

/// Inserts the ids (each once) as applied, and gives those that were not there. A transaction that inserts the same id at
/// the same time is waited for.
pub(crate) async fn insert_new(
    conn: &mut PgConnection,
    partition: &TopicPartition,
    log: i32,
    ids: &[Uuid],
    offsets: &[i64],
) -> Result<HashSet<Uuid>, sqlx::Error> {
    let new: Vec<Uuid> = sqlx::query_scalar(
        r#"INSERT INTO inbox.events (event_id, topic, partition, "offset", log, outcome)
           SELECT id, $1, $2, position, $5, $6 FROM unnest($3::uuid[], $4::bigint[]) AS batch (id, position) ORDER BY id
           ON CONFLICT (event_id) DO NOTHING
           RETURNING event_id"#,
    )
    .bind(&partition.topic)
    .bind(partition.partition)
    .bind(ids)
    .bind(offsets)
    .bind(log)
    .bind(APPLIED)
    .fetch_all(conn)
    .await?;
    Ok(new.into_iter().collect())
}

/// The ids of a topic for which the inbox can't decide whether they were applied, without a row of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forgotten {
    /// Older ones were not applied: nothing of the topic had been read before.
    from: Uuid,
    /// Older ones are no longer remembered.
    floor: Uuid,
}

impl Forgotten {
    pub(crate) fn contains(self, id: Uuid) -> bool {
        self.from <= id && id < self.floor
    }
}

/// Asked after the ids were inserted: the lock that their insertion took holds off a transaction that would raise the floor.
pub(crate) async fn forgotten(conn: &mut PgConnection, topic: &str) -> Result<Forgotten, sqlx::Error> {
    let (floor, first_floor): (Uuid, Option<Uuid>) = sqlx::query_as(
        "SELECT d.floor, (SELECT t.first_floor FROM inbox.consumer_topics t WHERE t.topic = $1)
         FROM inbox.deduplication d",
    )
    .bind(topic)
    .fetch_one(conn)
    .await?;
    Ok(Forgotten { from: first_floor.unwrap_or_default(), floor })
}

/// Sets the outcome of these ids, which this transaction has inserted or locked.
pub(crate) async fn set_outcomes(
    conn: &mut PgConnection,
    ids: &[Uuid],
    outcomes: &[&str],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE inbox.events e SET outcome = n.outcome
         FROM unnest($1::uuid[], $2::text[]) AS n (event_id, outcome) WHERE e.event_id = n.event_id",
    )
    .bind(ids)
    .bind(outcomes)
    .execute(conn)
    .await?;
    Ok(())
}

/// Makes table partitions ahead of time.
pub(crate) async fn add_weeks(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT inbox.add_table_partitions(now() + interval '4 weeks')").execute(conn).await?;
    Ok(())
}

/// Drops the weeks that end so many days before the earliest of the database's clock, the newest applied record, and the
/// last applied record of each partition that is not known to be at its end. Such a partition without an applied record
/// holds all weeks, and so does a service that has applied none (docs/adr/0019).
pub(crate) async fn drop_weeks(conn: &mut PgConnection, ends: &Ends, days: u32) -> Result<(), sqlx::Error> {
    let topics: Vec<&str> = ends.iter().map(|(id, _)| id.topic.as_str()).collect();
    let partitions: Vec<i32> = ends.iter().map(|(id, _)| id.partition).collect();
    let (lows, highs): (Vec<Option<i64>>, Vec<Option<i64>>) = ends
        .iter()
        .map(|(_, answer)| answer.as_ref().ok().map(|marks| (marks.low, marks.high)).unzip())
        .unzip();
    sqlx::query(
        "SELECT inbox.drop_table_partitions(
             least(now(), coalesce(max(p.last_record_at), '-infinity'), coalesce(min(CASE
                 WHEN p.stopped_reason IS NULL AND coalesce(p.next_offset, log.low) = log.high THEN 'infinity'
                 WHEN p.last_record_at IS NULL THEN '-infinity'
                 ELSE p.last_record_at
             END), '-infinity')) - make_interval(days => $5))
         FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[]) AS log (topic, partition, low, high)
         LEFT JOIN inbox.consumer_positions p ON (p.topic, p.partition) = (log.topic, log.partition)",
    )
    .bind(topics)
    .bind(partitions)
    .bind(lows)
    .bind(highs)
    .bind(i32::try_from(days).unwrap_or(i32::MAX))
    .execute(conn)
    .await?;
    Ok(())
}
