//! Numbers what has happened and appends it to the outbox, under the locks of the rows that number it.

use std::collections::BTreeMap;

use contracts::ambient;
use outbox::{AppendError, Message, Outbox};
use sqlx::PgConnection;

use super::{levels, reservations};
use crate::adapters::contract::{self, Account};
use crate::application::fulfilment::Fulfilment;
use crate::domain::{OrderId, Sku};

/// The sequences that the locked rows have published up to.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    pub(super) orders: BTreeMap<OrderId, i64>,
    pub(super) skus: BTreeMap<Sku, i64>,
}

impl Sequences {
    fn next(&mut self, account: Account) -> i64 {
        let last = match account {
            Account::Order(order_id) => self.orders.entry(order_id).or_insert(0),
            Account::Sku(sku) => self.skus.entry(sku).or_insert(0),
        };
        *last += 1;
        *last
    }
}

/// Stores every row that changed and appends what is to be published, in the transaction that holds the rows locked.
pub(super) async fn store(
    conn: &mut PgConnection,
    outbox: &Outbox,
    fulfilment: &Fulfilment,
    mut sequences: Sequences,
) -> Result<(), AppendError> {
    let messages = seal(outbox, fulfilment, &mut sequences)?;
    reservations::store(&mut *conn, &fulfilment.changed_orders(), &sequences.orders).await?;
    levels::store(&mut *conn, &fulfilment.changed_levels(), &sequences.skus).await?;
    if messages.is_empty() {
        return Ok(());
    }
    outbox.append(conn, &messages).await
}

fn seal(
    outbox: &Outbox,
    fulfilment: &Fulfilment,
    sequences: &mut Sequences,
) -> Result<Vec<Message>, AppendError> {
    let mut messages = Vec::new();
    for happening in fulfilment.happenings() {
        let Some(account) = contract::account(&happening.event) else { continue };
        let sequence = sequences.next(account);
        let event = contract::publication(&happening.event, ambient::new_id(), happening.at, sequence);
        if let Some(event) = event {
            messages.push(outbox.seal(&event, &happening.cause)?);
        }
    }
    Ok(messages)
}
