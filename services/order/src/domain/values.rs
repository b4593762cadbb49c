//! The values that orders are made of: parsed once at the edge, trusted afterwards.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a value was refused, in words for the person who sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(pub String);

/// An order's id, a UUIDv7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderId(pub Uuid);

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many units of a line: 1 to 1,000,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quantity(i64);

impl Quantity {
    /// The most units of one line.
    pub const MAX: i64 = 1_000_000;

    /// The quantity, if it is within its limits.
    ///
    /// # Errors
    /// When it is not.
    pub fn try_new(units: i64) -> Result<Self, InvalidValue> {
        if (1..=Self::MAX).contains(&units) {
            Ok(Self(units))
        } else {
            Err(InvalidValue(format!("must be 1 to {}", Self::MAX)))
        }
    }

    /// Units.
    pub const fn units(self) -> i64 {
        self.0
    }
}

/// The price of one unit in the currency's minor units: 0 to 10^9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnitPrice(i64);

impl UnitPrice {
    /// The highest price of one unit, in minor units.
    pub const MAX_MINOR: i64 = 1_000_000_000;

    /// The price, if it is within its limits.
    ///
    /// # Errors
    /// When it is not.
    pub fn try_new(minor: i64) -> Result<Self, InvalidValue> {
        if (0..=Self::MAX_MINOR).contains(&minor) {
            Ok(Self(minor))
        } else {
            Err(InvalidValue(format!("must be 0 to {} minor units", Self::MAX_MINOR)))
        }
    }

    /// Minor units.
    pub const fn minor(self) -> i64 {
        self.0
    }
}

/// An ISO 4217 currency code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CurrencyCode(String);

impl CurrencyCode {
    /// The code, if ISO 4217 has it.
    ///
    /// # Errors
    /// When it has not.
    pub fn try_new(code: &str) -> Result<Self, InvalidValue> {
        match iso_currency::Currency::from_code(code) {
            Some(_) => Ok(Self(code.to_owned())),
            None => Err(InvalidValue("must be an ISO 4217 code in capitals, such as GBP".to_owned())),
        }
    }

    /// A code that ISO 4217 had when it was stored.
    pub const fn trusted(code: String) -> Self {
        Self(code)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where an order stands; an order that has left `Placed` has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Open.
    Placed,
    /// Ended: paid.
    Confirmed,
    /// Ended: not going to happen.
    Cancelled,
}

impl Status {
    pub const ALL: [Self; 3] = [Self::Placed, Self::Confirmed, Self::Cancelled];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// Why an order was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancellationReason {
    /// Not every line could be reserved.
    OutOfStock,
    /// The payment was declined.
    PaymentDeclined,
    /// The customer asked for it.
    CustomerRequest,
    /// The deadline passed first.
    TimedOut,
}

impl CancellationReason {
    pub const ALL: [Self; 4] =
        [Self::OutOfStock, Self::PaymentDeclined, Self::CustomerRequest, Self::TimedOut];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutOfStock => "out_of_stock",
            Self::PaymentDeclined => "payment_declined",
            Self::CustomerRequest => "customer_request",
            Self::TimedOut => "timed_out",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}
