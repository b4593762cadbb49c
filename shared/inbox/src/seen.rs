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

/// An id, and the record that has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sighting<'a> {
    pub(crate) id: Uuid,
    pub(crate) partition: &'a TopicPartition,
    pub(crate) log: i32,
    pub(crate) offset: i64,
}

/// Inserts the ids (each once) as applied, in their order, and gives those that were not there. A transaction that inserts the
/// same id at the same time is waited for.
pub(crate) async fn insert_new(
    conn: &mut PgConnection,
    sightings: &[Sighting<'_>],
) -> Result<HashSet<Uuid>, sqlx::Error> {
    let ids: Vec<Uuid> = sightings.iter().map(|seen| seen.id).collect();
    let topics: Vec<&str> = sightings.iter().map(|seen| seen.partition.topic.as_str()).collect();
    let partitions: Vec<i32> = sightings.iter().map(|seen| seen.partition.partition).collect();
    let offsets: Vec<i64> = sightings.iter().map(|seen| seen.offset).collect();
    let logs: Vec<i32> = sightings.iter().map(|seen| seen.log).collect();
    let new: Vec<Uuid> = sqlx::query_scalar(
        r#"INSERT INTO inbox.events (event_id, topic, partition, "offset", log, outcome)
           SELECT id, topic, partition, position, log, $6
           FROM unnest($1::uuid[], $2::text[], $3::integer[], $4::bigint[], $5::integer[])
               AS batch (id, topic, partition, position, log)
           ORDER BY id
           ON CONFLICT (event_id) DO NOTHING
           RETURNING event_id"#,
    )
    .bind(ids)
    .bind(topics)
    .bind(partitions)
    .bind(offsets)
    .bind(logs)
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
    /// By the floor at which the topic was met, none where it was not met so far, and by that of now.
    pub(crate) fn new(first_floor: Option<Uuid>, floor: Uuid) -> Self {
        Self { from: first_floor.unwrap_or_default(), floor }
    }

    pub(crate) fn contains(self, id: Uuid) -> bool {
        self.from <= id && id < self.floor
    }
}

/// What is forgotten of this topic. Asked after the ids were inserted, as in [`crate::known`].
pub(crate) async fn forgotten(conn: &mut PgConnection, topic: &str) -> Result<Forgotten, sqlx::Error> {
    let (floor, first_floor): (Uuid, Option<Uuid>) = sqlx::query_as(
        "SELECT d.floor, t.first_floor
         FROM inbox.deduplication d LEFT JOIN inbox.consumer_topics t ON t.topic = $1",
    )
    .bind(topic)
    .fetch_one(conn)
    .await?;
    Ok(Forgotten::new(first_floor, floor))
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
