//! The payments that one transaction holds locked, and how a fact changes one of them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use contracts::Cause;
use inbox::Context;
use uuid::Uuid;

use crate::domain::{OrderId, Payment, Rejection};

/// One payment with what surrounds it in its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The payment itself.
    pub payment: Payment,
    /// The sequence of the last event published under this order's key.
    pub last_sequence: i64,
    /// The last message under this order's key before this transaction.
    pub last_message_id: Option<i64>,
    /// When a worker may take the next step; none while nothing is due. While leased, the lease's end.
    pub due_at: Option<DateTime<Utc>>,
    /// The lease under which a worker performs the step.
    pub lease_id: Option<Uuid>,
    /// Calls since the provider last approved something.
    pub attempts: i32,
    /// What led to the present state.
    pub cause: Option<Cause>,
    /// When the row last changed.
    pub updated_at: DateTime<Utc>,
}

/// All payments that a batch of events concerns.
#[derive(Debug)]
pub struct Payments {
    loaded: BTreeMap<OrderId, Entry>,
    changed: BTreeMap<OrderId, Entry>,
}

impl Payments {
    /// The locked rows as they were found.
    #[must_use]
    pub fn new(loaded: impl IntoIterator<Item = Entry>) -> Self {
        let loaded = loaded.into_iter().map(|entry| (entry.payment.order_id, entry)).collect();
        Self { loaded, changed: BTreeMap::new() }
    }

    /// Lets `fact` change the order's payment. A step that becomes due is due at once, unless a worker holds the lease:
    /// then it follows when that worker returns, or when the lease ends.
    ///
    /// # Errors
    /// When the domain calls the fact impossible.
    pub fn change(
        &mut self,
        order_id: Uuid,
        context: Context<'_>,
        fact: impl FnOnce(&mut Payment) -> Result<(), Rejection>,
    ) -> Result<(), inbox::Rejection> {
        let order_id = OrderId(order_id);
        let Some(before) = self.changed.get(&order_id).or_else(|| self.loaded.get(&order_id)) else {
            return Err(inbox::Rejection::new("not_loaded", format!("order {} was not locked", order_id.0)));
        };
        let mut entry = before.clone();
        fact(&mut entry.payment)
            .map_err(|rejection| inbox::Rejection::new(reason(&rejection), rejection.to_string()))?;
        if entry.payment == before.payment {
            return Ok(());
        }
        if entry.payment.due().is_none() {
            entry.due_at = None;
            entry.lease_id = None;
        } else if entry.lease_id.is_none() {
            entry.due_at = Some(context.now);
        }
        entry.attempts = 0;
        entry.cause = Some(context.cause());
        entry.updated_at = context.now;
        self.changed.insert(order_id, entry);
        Ok(())
    }

    /// What has to be stored.
    pub fn into_changed(self) -> impl Iterator<Item = Entry> {
        self.changed.into_values()
    }
}

const fn reason(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::ContradictingOrder { .. } => "contradicting_order",
        Rejection::NegativeAmount { .. } => "negative_amount",
    }
}
