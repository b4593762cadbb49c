//! What is known of an order, flattened into columns and read back from them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::application::Entry;
use crate::application::mail::Recipient;
use crate::domain::{End, Money, Order, OrderId, Reason, RecipientStatus};

/// One row of `orders`, its columns by name.
#[derive(Clone, Debug, Serialize, sqlx_macros::FromRow)]
pub(super) struct OrderRow {
    pub(super) order_id: Uuid,
    recipient_status: String,
    total_minor: Option<i64>,
    currency: Option<String>,
    status: Option<String>,
    cancellation_reason: Option<String>,
    refunded_minor: Option<i64>,
    refund_currency: Option<String>,
    updated_at: DateTime<Utc>,
}

impl OrderRow {
    pub(super) fn from_entry(entry: &Entry) -> Self {
        let Order { order_id, recipient_status, end, refund } = &entry.order;
        let total = recipient_status.total();
        let (status, reason) = match end {
            None => (None, None),
            Some(End::Confirmed) => (Some("confirmed"), None),
            Some(End::Cancelled(reason)) => (Some("cancelled"), Some(reason.name())),
        };
        Self {
            order_id: order_id.0,
            recipient_status: match recipient_status {
                RecipientStatus::Unknown => "unknown",
                RecipientStatus::Absent { .. } => "absent",
                RecipientStatus::Present { .. } => "present",
            }
            .to_owned(),
            total_minor: total.map(|total| total.amount_minor),
            currency: total.map(|total| total.currency.clone()),
            status: status.map(str::to_owned),
            cancellation_reason: reason.map(str::to_owned),
            refunded_minor: refund.as_ref().map(|refund| refund.amount_minor),
            refund_currency: refund.as_ref().map(|refund| refund.currency.clone()),
            updated_at: entry.updated_at,
        }
    }

    pub(super) fn into_entry(self, recipient: Option<Recipient>) -> Result<Entry, sqlx::Error> {
        let order = self.order().ok_or_else(|| {
            sqlx::Error::Decode(format!("the row of order {} contradicts itself", self.order_id).into())
        })?;
        Ok(Entry { order, recipient, updated_at: self.updated_at })
    }

    /// `None` when a column is missing that the others need; the table's checks forbid that.
    fn order(&self) -> Option<Order> {
        let money = |amount_minor: Option<i64>, currency: &Option<String>| {
            Some(Money { amount_minor: amount_minor?, currency: currency.clone()? })
        };
        let total = money(self.total_minor, &self.currency);
        let recipient_status = match (self.recipient_status.as_str(), total) {
            ("unknown", None) => RecipientStatus::Unknown,
            ("absent", Some(total)) => RecipientStatus::Absent { total },
            ("present", Some(total)) => RecipientStatus::Present { total },
            _ => return None,
        };
        let end = match (self.status.as_deref(), self.cancellation_reason.as_deref()) {
            (None, None) => None,
            (Some("confirmed"), None) => Some(End::Confirmed),
            (Some("cancelled"), Some(reason)) => {
                Some(End::Cancelled(Reason::ALL.into_iter().find(|known| known.name() == reason)?))
            }
            _ => return None,
        };
        let refund = money(self.refunded_minor, &self.refund_currency);
        Some(Order { order_id: OrderId(self.order_id), recipient_status, end, refund })
    }
}
