//! The orders that one transaction holds locked, and the mails that its facts lead to.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use inbox::Context;
use uuid::Uuid;

use super::mail::{Contents, Draft, Recipient};
use crate::domain::{Notice, Order, OrderId, Rejection};

/// One order with its recipient, who is kept in its first mail only.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What is known of the order.
    pub order: Order,
    /// Who gets its mails.
    pub recipient: Option<Recipient>,
    /// When something was last learned.
    pub updated_at: DateTime<Utc>,
}

/// All orders that a batch of events concerns.
#[derive(Debug)]
pub struct Orders {
    loaded: BTreeMap<OrderId, Entry>,
    changed: BTreeMap<OrderId, Entry>,
    drafts: Vec<Draft>,
}

/// Who is told, and what the first mail says beyond the notice.
#[derive(Debug)]
pub struct Introduction {
    /// Who gets the order's mails.
    pub recipient: Recipient,
    /// What the first mail lists.
    pub contents: Contents,
}

impl Orders {
    /// The locked rows as they were found.
    #[must_use]
    pub fn new(loaded: impl IntoIterator<Item = Entry>) -> Self {
        let loaded = loaded.into_iter().map(|entry| (entry.order.order_id, entry)).collect();
        Self { loaded, changed: BTreeMap::new(), drafts: Vec::new() }
    }

    /// Lets `fact` change what is known of the order, and drafts the mails that follow from it.
    ///
    /// # Errors
    /// When the domain calls the fact impossible.
    pub fn learn(
        &mut self,
        order_id: Uuid,
        context: Context<'_>,
        introduction: Option<Introduction>,
        fact: impl FnOnce(&mut Order) -> Result<Vec<Notice>, Rejection>,
    ) -> Result<(), inbox::Rejection> {
        let order_id = OrderId(order_id);
        let Some(before) = self.changed.get(&order_id).or_else(|| self.loaded.get(&order_id)) else {
            return Err(inbox::Rejection::new("not_loaded", format!("order {} was not locked", order_id.0)));
        };
        let mut entry = before.clone();
        let notices = fact(&mut entry.order)
            .map_err(|rejection| inbox::Rejection::new(reason(&rejection), rejection.to_string()))?;
        if entry.order == before.order {
            return Ok(());
        }
        let (recipient, mut contents) = introduction.map(|it| (it.recipient, it.contents)).unzip();
        entry.recipient = entry.recipient.or(recipient);
        entry.updated_at = context.now;
        let mut drafts = Vec::with_capacity(notices.len());
        for notice in notices {
            let (Some(recipient), Some(total)) = (&entry.recipient, entry.order.recipient_status.total())
            else {
                let detail = format!("order {} has a notice and no recipient", order_id.0);
                return Err(inbox::Rejection::new("recipient_missing", detail));
            };
            drafts.push(Draft {
                order_id,
                contents: if notice == Notice::OrderReceived { contents.take() } else { None },
                notice,
                recipient: recipient.clone(),
                total: total.clone(),
                event_id: context.envelope.event_id,
                trace: context.envelope.trace.clone(),
                created_at: context.now,
            });
        }
        self.drafts.extend(drafts);
        self.changed.insert(order_id, entry);
        Ok(())
    }

    /// What has to be stored: orders, and mails to be written.
    #[must_use]
    pub fn into_changes(self) -> (Vec<Entry>, Vec<Draft>) {
        (self.changed.into_values().collect(), self.drafts)
    }
}

const fn reason(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::ContradictingOrder { .. } => "contradicting_order",
        Rejection::ContradictingEnd { .. } => "contradicting_end",
    }
}
