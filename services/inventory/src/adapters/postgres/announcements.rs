//! Numbers what has happened and appends it to the outbox, under the locks of the rows that number it.

use std::collections::BTreeMap;

use contracts::clock;
use events::{PublishError, Publisher};
use outbox::Message;
use sqlx::PgConnection;

use super::last::Last;
use super::{levels, reservations};
use crate::adapters::contract::{self, Account};
use crate::application::fulfilment::Fulfilment;
use crate::domain::{OrderId, Sku};

/// What the locked rows have published last.
#[derive(Debug, Default)]
pub(super) struct Published {
    pub(super) orders: BTreeMap<OrderId, Last>,
    pub(super) skus: BTreeMap<Sku, Last>,
}

impl Published {
    fn next(&mut self, account: Account) -> Last {
        let last = match account {
            Account::Order(order_id) => self.orders.entry(order_id).or_default(),
            Account::Sku(sku) => self.skus.entry(sku).or_default(),
        };
        last.sequence += 1;
        *last
    }
}

/// Stores every row that changed and appends what is to be published, in the transaction that holds the rows locked.
pub(super) async fn store(
    conn: &mut PgConnection,
    outbox: &Publisher,
    fulfilment: &Fulfilment,
    mut published: Published,
) -> Result<(), PublishError> {
    let messages = encode(outbox, fulfilment, &mut published)?;
    let numbered = outbox.number(&mut *conn, messages).await?;
    reservations::store(&mut *conn, &fulfilment.changed_orders(), &published.orders, &numbered).await?;
    levels::store(&mut *conn, &fulfilment.changed_levels(), &published.skus, &numbered).await?;
    outbox.append(conn, &numbered).await
}

fn encode(
    outbox: &Publisher,
    fulfilment: &Fulfilment,
    published: &mut Published,
) -> Result<Vec<Message>, PublishError> {
    let mut messages = Vec::new();
    for happening in fulfilment.happenings() {
        let Some(account) = contract::account(&happening.event) else { continue };
        let last = published.next(account);
        let event = contract::publication(&happening.event, clock::new_id(), happening.at, last.sequence);
        if let Some(event) = event {
            messages.push(outbox.encode(&event, &happening.cause, last.message_id)?);
        }
    }
    Ok(messages)
}
