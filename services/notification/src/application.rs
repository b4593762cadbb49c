//! The use cases, one file each, and the ports that they need from outside.

pub mod deliver_mails;
pub mod mail;
pub mod note_end;
pub mod note_refund;
pub mod orders;
pub mod remember_recipient;

use contracts::order::{OrderCancelled, OrderConfirmed, OrderPlaced};
use contracts::payment::PaymentRefunded;
use events::Subscribe as _;
use inbox::Subscriptions;

pub use note_end::{note_cancellation, note_confirmation};
pub use note_refund::note_refund;
pub use orders::{Entry, Orders};
pub use remember_recipient::remember_recipient;

/// What notification reacts to.
#[must_use]
pub fn subscriptions() -> Subscriptions<Orders> {
    Subscriptions::new()
        .on::<OrderPlaced>(remember_recipient)
        .on::<OrderConfirmed>(note_confirmation)
        .on::<OrderCancelled>(note_cancellation)
        .on::<PaymentRefunded>(note_refund)
}
