//! What an order costs and how it is paid, as `OrderPlaced` carries it.

use std::fmt;

/// An amount in the currency's minor units (ISO 4217).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    pub amount_minor: i64,
    pub currency: String,
}

/// A token for a means of payment. Its holder can charge it, so it never prints.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PaymentMethod(String);

impl PaymentMethod {
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// The token itself, for the provider and the database only.
    pub fn token(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PaymentMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PaymentMethod(redacted)")
    }
}

/// What is charged: event-carried state, so that payment never calls order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Charge {
    pub money: Money,
    pub method: PaymentMethod,
}
