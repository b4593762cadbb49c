//! Which notifications the customer of an order gets, and when. Pure, and free of personal data.

pub mod order;

#[cfg(test)]
mod tests;

pub use order::{End, Money, Notification, Order, OrderId, Reason, RecipientStatus, Refusal};
