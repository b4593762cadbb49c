//! What an order costs and how it is to be paid, as `OrderPlaced` said it.

use std::fmt;

/// An amount in the currency's minor units (ISO 4217).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    /// Minor units: pence, cents.
    pub amount_minor: i64,
    /// The ISO 4217 code, such as `GBP`.
    pub currency: String,
}

/// A token for a means of payment. Whoever holds it can charge it, so it never prints.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PaymentMethod(String);

impl PaymentMethod {
    /// The method behind this token.
    #[must_use]
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// The token itself, for the provider and the database only.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PaymentMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PaymentMethod(redacted)")
    }
}

/// What is to be charged: event-carried state, so that payment never asks order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Charge {
    /// The order's total.
    pub money: Money,
    /// How it is paid.
    pub method: PaymentMethod,
}
