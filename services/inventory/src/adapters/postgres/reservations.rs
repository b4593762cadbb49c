//! The table `reservations`: one row per order.

use std::collections::{BTreeMap, BTreeSet};

use contracts::{Topic, clock};
use events::{LastEvent, Row};
use inbox::Locked;
use outbox::Numbered;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::Statement;
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
    /// By this transaction.
    is_inserted: bool,
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

/// Inserts the rows of unknown orders, and locks all of these, sorted (docs/adr/0007).
pub(super) async fn lock(
    conn: &mut PgConnection,
    order_ids: &BTreeSet<OrderId>,
) -> Result<Locked<OrderId, Row<Reservation>>, sqlx::Error> {
    let order_ids: Vec<Uuid> = order_ids.iter().map(|id| id.0).collect();
    let mut rows: Vec<ReservationRow> = sqlx::query_as(
        "WITH inserted AS (
             INSERT INTO reservations (order_id, reservation_id)
             SELECT n.order_id, n.reservation_id FROM unnest($1::uuid[], $2::uuid[]) AS n (order_id, reservation_id)
             ORDER BY n.order_id
             ON CONFLICT (order_id) DO NOTHING
             RETURNING order_id, reservation_id, state, lines, last_sequence, last_message_id
         ), locked AS (
             SELECT order_id, reservation_id, state, lines, last_sequence, last_message_id
             FROM reservations
             WHERE order_id = ANY($1)
               AND (SELECT count(*) FROM inserted)
                   + (SELECT count(*) FROM reservations WHERE order_id = ANY($1)) = cardinality($1)
             ORDER BY order_id FOR UPDATE
         )
         SELECT *, true AS is_inserted FROM inserted UNION ALL SELECT *, false FROM locked",
    )
    .bind(&order_ids)
    .bind(order_ids.iter().map(|_| clock::new_id()).collect::<Vec<_>>())
    .fetch_all(&mut *conn)
    .await?;
    let inserted: Vec<Uuid> = rows.iter().filter(|row| row.is_inserted).map(|row| row.order_id).collect();
    if rows.len() < order_ids.len() {
        rows = sqlx::query_as(
            "SELECT order_id, reservation_id, state, lines, last_sequence, last_message_id, false AS is_inserted
             FROM reservations WHERE order_id = ANY($1) ORDER BY order_id FOR UPDATE",
        )
        .bind(&order_ids)
        .fetch_all(conn)
        .await?;
    }
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

/// Binds the changed reservations to $1 to $6; gives how many there are.
pub(super) fn bind_changed<'q>(
    statement: Statement<'q>,
    reservations: &Locked<OrderId, Row<Reservation>>,
    numbered: &Numbered,
) -> (Statement<'q>, usize) {
    let (ids, rows): (Vec<OrderId>, Vec<&Row<Reservation>>) = reservations.changed().unzip();
    let last_message_id = |(id, row): (&OrderId, &&Row<Reservation>)| {
        row.last_event.message_id_after(numbered, Topic::Reservations, &id.to_string())
    };
    let units =
        |lines: &Lines| Json(lines.iter().map(|(sku, units)| (sku.to_string(), units)).collect::<Units>());
    let statement = statement
        .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.aggregate.state.name()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.aggregate.state.lines().map(units)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.last_event.sequence).collect::<Vec<_>>())
        .bind(ids.iter().zip(&rows).map(last_message_id).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.last_event.message_id).collect::<Vec<_>>());
    (statement, rows.len())
}
