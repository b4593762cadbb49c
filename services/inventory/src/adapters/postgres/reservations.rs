//! The table `reservations`: one row per order.

use std::collections::BTreeMap;

use contracts::Topic;
use events::PublishError;
use outbox::{Numbered, expect_stored};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::last::Last;
use crate::domain::{Lines, OrderId, Reservation, ReservationId, ReservationState, Sku};

type Units = BTreeMap<String, i64>;

#[derive(sqlx_macros::FromRow)]
pub(super) struct ReservationRow {
    pub(super) order_id: Uuid,
    reservation_id: Uuid,
    state: String,
    lines: Option<Json<Units>>,
    last_sequence: i64,
    last_message_id: Option<i64>,
}

impl ReservationRow {
    pub(super) fn reservation(&self) -> Result<Reservation, sqlx::Error> {
        Ok(Reservation { id: ReservationId(self.reservation_id), state: self.state()? })
    }

    pub(super) const fn last(&self) -> Last {
        Last { sequence: self.last_sequence, message_id: self.last_message_id }
    }

    fn state(&self) -> Result<ReservationState, sqlx::Error> {
        Ok(match self.state.as_str() {
            "unknown" => ReservationState::Unknown,
            "reserved" => ReservationState::Reserved(self.lines()?),
            "rejected" => ReservationState::Rejected,
            "committed" => ReservationState::Committed(self.lines()?),
            "released" => ReservationState::Released(self.lines()?),
            "cancelled_before_placed" => ReservationState::CancelledBeforePlaced,
            other => return Err(self.corrupt(&format!("unknown state {other}"))),
        })
    }

    fn lines(&self) -> Result<Lines, sqlx::Error> {
        let units = self.lines.iter().flat_map(|lines| &lines.0);
        let lines = units.map(|(sku, quantity)| (Sku::trusted(sku.clone()), *quantity));
        Lines::try_sum(lines).map_err(|refusal| self.corrupt(&refusal.to_string()))
    }

    fn corrupt(&self, detail: &str) -> sqlx::Error {
        sqlx::Error::Decode(format!("reservation of order {}: {detail}", self.order_id).into())
    }
}

/// Inserts the rows of orders not yet known. `ids` pairs each order with the id that its reservation gets if it is new.
pub(super) async fn insert_missing(
    conn: &mut PgConnection,
    ids: &BTreeMap<OrderId, ReservationId>,
) -> Result<(), sqlx::Error> {
    let order_ids: Vec<Uuid> = ids.keys().map(|id| id.0).collect();
    let reservation_ids: Vec<Uuid> = ids.values().map(|id| id.0).collect();
    sqlx::query(
        "INSERT INTO reservations (order_id, reservation_id)
         SELECT n.order_id, n.reservation_id FROM unnest($1::uuid[], $2::uuid[]) AS n (order_id, reservation_id)
         ORDER BY n.order_id
         ON CONFLICT (order_id) DO NOTHING",
    )
    .bind(order_ids)
    .bind(reservation_ids)
    .execute(conn)
    .await?;
    Ok(())
}

/// Locks these orders in one sorted statement.
pub(super) async fn lock(
    conn: &mut PgConnection,
    order_ids: impl Iterator<Item = OrderId>,
) -> Result<Vec<ReservationRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT order_id, reservation_id, state, lines, last_sequence, last_message_id
         FROM reservations WHERE order_id = ANY($1) ORDER BY order_id FOR UPDATE",
    )
    .bind(order_ids.map(|id| id.0).collect::<Vec<_>>())
    .fetch_all(conn)
    .await
}

/// Stores these reservations with what their rows have published last.
///
/// # Errors
/// When a row has published since it was read, or the database refuses.
pub(super) async fn store(
    conn: &mut PgConnection,
    reservations: &BTreeMap<OrderId, &Reservation>,
    published: &BTreeMap<OrderId, Last>,
    numbered: &Numbered,
) -> Result<(), PublishError> {
    if reservations.is_empty() {
        return Ok(());
    }
    let order_ids: Vec<Uuid> = reservations.keys().map(|id| id.0).collect();
    let states: Vec<&str> = reservations.values().map(|reservation| reservation.state.name()).collect();
    let units =
        |lines: &Lines| Json(lines.iter().map(|(sku, units)| (sku.to_string(), units)).collect::<Units>());
    let lines: Vec<Option<Json<Units>>> =
        reservations.values().map(|reservation| reservation.state.lines().map(units)).collect();
    let last: Vec<Last> =
        reservations.keys().map(|id| published.get(id).copied().unwrap_or_default()).collect();
    let next = reservations.keys().zip(&last).map(|(id, last)| {
        numbered.last_message_id(Topic::Reservations.suffix(), &id.0.to_string()).or(last.message_id)
    });
    let stored = sqlx::query(
        "UPDATE reservations r
         SET state = n.state, lines = n.lines, last_sequence = n.last_sequence,
             last_message_id = n.last_message_id
         FROM unnest($1::uuid[], $2::text[], $3::jsonb[], $4::bigint[], $5::bigint[], $6::bigint[])
             AS n (order_id, state, lines, last_sequence, last_message_id, message_id_before)
         WHERE r.order_id = n.order_id AND r.last_message_id IS NOT DISTINCT FROM n.message_id_before",
    )
    .bind(order_ids)
    .bind(states)
    .bind(lines)
    .bind(last.iter().map(|last| last.sequence).collect::<Vec<_>>())
    .bind(next.collect::<Vec<_>>())
    .bind(last.iter().map(|last| last.message_id).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(expect_stored(stored.rows_affected(), reservations.len())?)
}
