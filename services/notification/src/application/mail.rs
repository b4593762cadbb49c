//! What a mail is made of, from the draft to its delivery. Personal data lives here, so nothing here prints it.

use std::fmt;

use chrono::{DateTime, Utc};
use contracts::TraceContext;
use uuid::Uuid;

use crate::domain::{Money, Notice, OrderId};

/// Who gets a mail.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The name in the salutation.
    pub name: String,
    /// The address.
    pub email: String,
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recipient(redacted)")
    }
}

/// Where the goods go; only the first mail says it.
#[derive(Clone, PartialEq, Eq)]
pub struct PostalAddress {
    /// Street and number.
    pub street: String,
    /// City.
    pub city: String,
    /// Postal code.
    pub postal_code: String,
    /// Country.
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
    /// What.
    pub sku: String,
    /// How many.
    pub quantity: i64,
    /// At what price, in minor units.
    pub unit_price_minor: i64,
}

/// What only `OrderPlaced` knows and the first mail says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The lines of the order.
    pub lines: Vec<Line>,
    /// Where they go.
    pub address: PostalAddress,
}

/// A mail to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// About which order.
    pub order_id: OrderId,
    /// What to say.
    pub notice: Notice,
    /// To whom.
    pub recipient: Recipient,
    /// The order's total.
    pub total: Money,
    /// The order's contents, for the first mail.
    pub contents: Option<Contents>,
    /// The event that led to it.
    pub event_id: Uuid,
    /// The trace that the delivery continues.
    pub trace: TraceContext,
    /// When the notice became due.
    pub created_at: DateTime<Utc>,
}

/// A rendered mail under a lease, ready to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// About which order.
    pub order_id: OrderId,
    /// Its kind's name.
    pub kind: String,
    /// The stable Message-ID (RFC 5322), with its angle brackets.
    pub message_id: String,
    /// To whom.
    pub recipient: Recipient,
    /// The subject.
    pub subject: String,
    /// The plain text.
    pub text: String,
    /// The same as HTML.
    pub html: String,
    /// How often it was tried, this time included.
    pub attempts: i32,
    /// Under which lease.
    pub lease_id: Uuid,
    /// When the notice became due; the mail's date.
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
