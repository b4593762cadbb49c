//! What a mail is made of, from the draft to its delivery. These types hold personal data, so none of them prints it.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use contracts::TraceContext;
use serde::Deserialize;
use uuid::Uuid;

use crate::domain::{Money, Notification, OrderId};

#[derive(Clone, PartialEq, Eq)]
pub struct Recipient {
    pub name: String,
    pub email: String,
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recipient(redacted)")
    }
}

#[derive(Clone, PartialEq, Eq)]
pub struct PostalAddress {
    pub street: String,
    pub city: String,
    pub postal_code: String,
    pub country: String,
}

impl fmt::Debug for PostalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostalAddress(redacted)")
    }
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub sku: String,
    pub quantity: i64,
    pub unit_price_minor: i64,
}

/// What only the first mail lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    pub lines: Vec<Line>,
    pub address: PostalAddress,
}

/// The personal data that `OrderPlaced` carries.
#[derive(Debug)]
pub struct Introduction {
    pub recipient: Recipient,
    pub contents: Contents,
}

/// A mail to be rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    pub order_id: OrderId,
    pub notification: Notification,
    pub recipient: Recipient,
    /// The order's total.
    pub total: Money,
    /// For the first mail.
    pub contents: Option<Contents>,
    /// The event that led to it.
    pub event_id: Uuid,
    /// The trace that the delivery continues.
    pub trace: TraceContext,
    pub created_at: DateTime<Utc>,
}

/// Which mail: an order has at most one of each kind.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct MailId {
    pub order_id: Uuid,
    pub kind: String,
}

/// The most letters of a kind.
const KIND_MAX_CHARS: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id of a notification is that of its order and its kind, joined by a dot")]
pub struct InvalidMailId;

impl fmt::Display for MailId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.order_id, self.kind)
    }
}

impl FromStr for MailId {
    type Err = InvalidMailId;

    fn from_str(text: &str) -> Result<Self, InvalidMailId> {
        let (order_id, kind) = text.split_once('.').ok_or(InvalidMailId)?;
        let order_id = order_id.parse().map_err(|_| InvalidMailId)?;
        let is_kind = (1..=KIND_MAX_CHARS).contains(&kind.len())
            && kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if is_kind { Ok(Self { order_id, kind: kind.to_owned() }) } else { Err(InvalidMailId) }
    }
}

impl TryFrom<String> for MailId {
    type Error = InvalidMailId;

    fn try_from(text: String) -> Result<Self, InvalidMailId> {
        text.parse()
    }
}

/// The table of the mails and their outcomes.
pub(crate) const MAILS: &str = "mails";

/// A rendered mail under a lease, ready to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    pub order_id: OrderId,
    pub kind: String,
    /// The stable Message-ID (RFC 5322), with its angle brackets.
    pub message_id: String,
    pub recipient: Recipient,
    pub subject: String,
    pub text: String,
    pub html: String,
    /// Number of attempts, this one included.
    pub attempts: i32,
    /// Number of attempts that the server refused for this mail's own sake.
    pub refusals: i32,
    pub lease_id: Uuid,
    /// The mail's date.
    pub created_at: DateTime<Utc>,
    /// The trace that the delivery continues.
    pub trace: TraceContext,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail")
            .field("order_id", &self.order_id)
            .field("kind", &self.kind)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}
