//! What the customer of an order should know, and when. Pure, and free of personal data.

pub mod order;

#[cfg(test)]
mod tests;

pub use order::{End, Money, Notice, NoticeKind, Order, OrderId, Reason, RecipientStatus, Rejection};
