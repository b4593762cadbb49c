//! The table `reservations`: one row per order.

use std::collections::{BTreeMap, BTreeSet};

use contracts::{Topic, clock};
use events::{LastEvent, PublishError, Row};
use inbox::Locked;
use outbox::{Numbered, expect_stored};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::{Lines, OrderId, Reservation, ReservationId, ReservationState, Sku};

type Units = BTreeMap<String, i64>;

#[derive(sqlx_macros::FromRow)]
struct ReservationRow {
    order_id: Uuid,
    reservation_id: Uuid,
    state: String,
    lines: Option<Json<Units>>,
    last_sequence: i64,
    last_message_id: Option<i64>,
}

impl ReservationRow {
    fn locked(self) -> Result<(OrderId, Row<Reservation>), sqlx::Error> {
        let last_event = LastEvent { sequence: self.last_sequence, message_id: self.last_message_id };
        let aggregate = Reservation { id: ReservationId(self.reservation_id), state: self.state()? };
        Ok((OrderId(self.order_id), Row { aggregate, last_event }))
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

/// Inserts the rows of unknown orders, and locks all of these in one sorted statement.
pub(super) async fn lock(
    conn: &mut PgConnection,
    order_ids: &BTreeSet<OrderId>,
) -> Result<Locked<OrderId, Row<Reservation>>, sqlx::Error> {
    let order_ids: Vec<Uuid> = order_ids.iter().map(|id| id.0).collect();
    let inserted: Vec<Uuid> = sqlx::query_scalar(
        "INSERT INTO reservations (order_id, reservation_id)
         SELECT n.order_id, n.reservation_id FROM unnest($1::uuid[], $2::uuid[]) AS n (order_id, reservation_id)
         ORDER BY n.order_id
         ON CONFLICT (order_id) DO NOTHING
         RETURNING order_id",
    )
    .bind(&order_ids)
    .bind(order_ids.iter().map(|_| clock::new_id()).collect::<Vec<_>>())
    .fetch_all(&mut *conn)
    .await?;
    let rows: Vec<ReservationRow> = sqlx::query_as(
        "SELECT order_id, reservation_id, state, lines, last_sequence, last_message_id
         FROM reservations WHERE order_id = ANY($1) ORDER BY order_id FOR UPDATE",
    )
    .bind(&order_ids)
    .fetch_all(conn)
    .await?;
    let rows = rows.into_iter().map(ReservationRow::locked).collect::<Result<Vec<_>, _>>()?;
    Ok(Locked::new(rows).with_inserted(inserted.into_iter().map(OrderId)))
}

/// Deletes the rows of orders of which no event was accepted.
pub(super) async fn delete_unused(
    conn: &mut PgConnection,
    reservations: &Locked<OrderId, Row<Reservation>>,
) -> Result<(), sqlx::Error> {
    let unused: Vec<Uuid> = reservations.unused().map(|id| id.0).collect();
    if !unused.is_empty() {
        sqlx::query("DELETE FROM reservations WHERE order_id = ANY($1)").bind(unused).execute(conn).await?;
    }
    Ok(())
}

/// Stores the reservations that have changed.
///
/// # Errors
/// When a row has published since it was read, or the database refuses.
pub(super) async fn store(
    conn: &mut PgConnection,
    reservations: &Locked<OrderId, Row<Reservation>>,
    numbered: &Numbered,
) -> Result<(), PublishError> {
    let (ids, rows): (Vec<OrderId>, Vec<&Row<Reservation>>) = reservations.changed().unzip();
    if rows.is_empty() {
        return Ok(());
    }
    let last_message_id = |(id, row): (&OrderId, &&Row<Reservation>)| {
        row.last_event.message_id_after(numbered, Topic::Reservations, &id.to_string())
    };
    let units =
        |lines: &Lines| Json(lines.iter().map(|(sku, units)| (sku.to_string(), units)).collect::<Units>());
    let stored = sqlx::query(
        "UPDATE reservations r
         SET state = n.state, lines = n.lines, last_sequence = n.last_sequence,
             last_message_id = n.last_message_id
         FROM unnest($1::uuid[], $2::text[], $3::jsonb[], $4::bigint[], $5::bigint[], $6::bigint[])
             AS n (order_id, state, lines, last_sequence, last_message_id, message_id_before)
         WHERE r.order_id = n.order_id AND r.last_message_id IS NOT DISTINCT FROM n.message_id_before",
    )
    .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.aggregate.state.name()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.aggregate.state.lines().map(units)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.last_event.sequence).collect::<Vec<_>>())
    .bind(ids.iter().zip(&rows).map(last_message_id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.last_event.message_id).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(expect_stored(stored.rows_affected(), rows.len())?)
}
