//! The ids that a redrive decides, and their outcomes.

use messaging::TopicPartition;
use sqlx::PgConnection;
use uuid::Uuid;

use super::letters::Letter;
use crate::seen;

/// The outcome in the inbox of the event that a letter decodes to.
pub(super) enum Known {
    /// It had its effect, by another letter or delivery.
    Applied,
    /// Somebody gave it up.
    Discarded,
    /// It has no end yet.
    Open,
    /// It is below the floor, and has no row: whether it was applied is unknown.
    Forgotten,
}

/// The ids that a redrive decides, locked: the letter's, and that of the event that it decodes to.
pub(super) struct Outcomes {
    pub(super) event: Known,
    open: Vec<(Uuid, String)>,
}

impl Outcomes {
    /// All that were open have the event's end now.
    pub(super) async fn set(&self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        let ids: Vec<Uuid> = self.open.iter().map(|(id, _)| *id).collect();
        let discarded = matches!(self.event, Known::Discarded);
        let end = |(_, outcome): &(Uuid, String)| match (outcome == seen::UNDECIDABLE, discarded) {
            (false, false) => "redriven",
            (false, true) => "discarded",
            (true, false) => "undecidable_redriven",
            (true, true) => "undecidable_discarded",
        };
        let outcomes: Vec<&str> = self.open.iter().map(end).collect();
        seen::set_outcomes(conn, &ids, &outcomes).await
    }
}

/// Inserts or locks both ids, in their order, like a batch: as dead-lettered, because a redrive that fails has applied
/// nothing. The floor is asked afterwards.
pub(super) async fn lock(
    conn: &mut PgConnection,
    partition: &TopicPartition,
    letter: &Letter,
    event_id: Uuid,
) -> Result<Outcomes, sqlx::Error> {
    let inserted: Vec<Uuid> = sqlx::query_scalar(
        r#"INSERT INTO inbox.events (event_id, topic, partition, "offset", log, outcome)
           SELECT DISTINCT id, $2, $3::integer, $4::bigint, $5::integer, $6 FROM unnest($1::uuid[]) AS ids (id) ORDER BY id
           ON CONFLICT (event_id) DO NOTHING
           RETURNING event_id"#,
    )
    .bind([letter.event_id, event_id])
    .bind(&partition.topic)
    .bind(partition.partition)
    .bind(letter.offset)
    .bind(letter.log)
    .bind(seen::DEAD_LETTERED)
    .fetch_all(&mut *conn)
    .await?;
    let found: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT event_id, outcome FROM inbox.events WHERE event_id = ANY($1) ORDER BY event_id FOR UPDATE",
    )
    .bind([letter.event_id, event_id])
    .fetch_all(&mut *conn)
    .await?;
    let is_forgotten = seen::forgotten(conn, &partition.topic).await?.contains(event_id);
    let of_event = found.iter().find(|(id, _)| *id == event_id).map(|(_, outcome)| outcome.as_str());
    let event = match of_event {
        Some("applied" | "redriven" | "undecidable_redriven") => Known::Applied,
        Some("discarded" | "undecidable_discarded") => Known::Discarded,
        _ if inserted.contains(&event_id) && is_forgotten => Known::Forgotten,
        Some(seen::UNDECIDABLE) if event_id != letter.event_id => Known::Forgotten,
        _ => Known::Open,
    };
    let is_open = |outcome: &str| outcome == seen::DEAD_LETTERED || outcome == seen::UNDECIDABLE;
    Ok(Outcomes { event, open: found.into_iter().filter(|(_, outcome)| is_open(outcome)).collect() })
}
