//! The side that sends parcels: the row of a parcel and its event in one transaction.

use outbox::{AppendError, Envelope, Outbox, TraceContext, clock, expect_stored};
use sqlx::PgConnection;

use crate::parcel::{MOVED, ParcelMoved, TOPIC};

/// Its table. `last_message_id` links each message to the one before it.
pub const TABLE: &str = "CREATE TABLE parcels (
    parcel text PRIMARY KEY, depot text, moves bigint NOT NULL DEFAULT 0, last_message_id bigint)";

/// Moves a parcel, in the caller's transaction.
///
/// # Errors
/// When the event is too large, or the database refuses.
pub async fn move_parcel(
    tx: &mut PgConnection,
    outbox: &Outbox,
    event: &ParcelMoved,
) -> Result<(), AppendError> {
    sqlx::query("INSERT INTO parcels (parcel) VALUES ($1) ON CONFLICT (parcel) DO NOTHING")
        .bind(&event.parcel)
        .execute(&mut *tx)
        .await?;
    let (moves, last_message_id): (i64, Option<i64>) =
        sqlx::query_as("SELECT moves, last_message_id FROM parcels WHERE parcel = $1 FOR UPDATE")
            .bind(&event.parcel)
            .fetch_one(&mut *tx)
            .await?;
    let value = serde_json::to_vec(event).unwrap_or_default();
    let message = outbox.message(TOPIC, envelope(event, moves + 1), value, last_message_id)?;
    let numbered = outbox.number(tx, vec![message]).await?;
    let stored = sqlx::query(
        "UPDATE parcels SET depot = $2, moves = $3, last_message_id = $4
         WHERE parcel = $1 AND last_message_id IS NOT DISTINCT FROM $5",
    )
    .bind(&event.parcel)
    .bind(&event.depot)
    .bind(moves + 1)
    .bind(numbered.last_message_id(TOPIC, &event.parcel))
    .bind(last_message_id)
    .execute(&mut *tx)
    .await?;
    expect_stored(stored.rows_affected(), 1)?;
    outbox.append(tx, &numbered).await
}

/// The envelope of a move.
pub fn envelope(event: &ParcelMoved, sequence: i64) -> Envelope {
    let event_id = clock::new_id();
    Envelope {
        event_id,
        event_type: MOVED.to_owned(),
        source: "depot".to_owned(),
        occurred_at: clock::now(),
        subject: event.parcel.clone(),
        sequence,
        correlation_id: event_id,
        causation_id: None,
        user_id: None,
        trace: TraceContext::default(),
    }
}
