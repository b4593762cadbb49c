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

/// Text of 1 to `MAX` printable characters; inner spaces are allowed, leading and trailing ones are not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Text<const MAX: usize>(String);

/// A customer's id, opaque to us.
pub type CustomerId = Text<100>;
/// A stock keeping unit, compared case-sensitively.
pub type Sku = Text<{ contracts::text::SKU_MAX_CHARS }>;
/// A payment provider's token for a way to pay.
pub type PaymentMethod = Text<100>;

impl<const MAX: usize> Text<MAX> {
    /// The text, if it keeps the rules.
    ///
    /// # Errors
    /// When it is empty, too long, or holds what can't be printed.
    pub fn try_new(text: &str) -> Result<Self, InvalidValue> {
        match contracts::text::check(text, MAX) {
            Ok(()) => Ok(Self(text.to_owned())),
            Err(invalid) => Err(InvalidValue(invalid.to_string())),
        }
    }

    /// Text that kept the rules when it was stored, whatever they are today.
    #[must_use]
    pub const fn trusted(text: String) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
    #[must_use]
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
    #[must_use]
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
    #[must_use]
    pub const fn trusted(code: String) -> Self {
        Self(code)
    }

    /// The three letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who gets the mail and the goods: the only personal data of an order.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// Their name.
    pub name: Text<200>,
    /// Their e-mail address.
    pub email: Email,
    /// Where they live.
    pub address: Address,
}

/// A postal address.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Street and number.
    pub street: Text<200>,
    /// Town.
    pub city: Text<100>,
    /// Postal code.
    pub postal_code: Text<20>,
    /// Country.
    pub country: Text<100>,
}

/// Personal data never prints: what shows an order in a log or an error shows that there is some, and no more.
macro_rules! prints_nothing {
    ($($name:ident),+) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )+};
}

prints_nothing!(Recipient, Address, Email);

/// An e-mail address, checked simply: one `@`, something before it, a domain behind it, no spaces.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Email(String);

impl Email {
    /// The most characters (RFC 5321's limit of a path, without its brackets).
    pub const MAX: usize = 254;

    /// The address, if it looks like one.
    ///
    /// # Errors
    /// When it does not.
    pub fn try_new(text: &str) -> Result<Self, InvalidValue> {
        let printable = Text::<{ Self::MAX }>::try_new(text)?;
        let valid = match printable.as_str().split_once('@') {
            Some((local, domain)) => {
                (1..=64).contains(&local.len())
                    && !domain.contains('@')
                    && !text.contains([' ', ',', ';', '<', '>', '"', '(', ')'])
                    && domain.split('.').all(|label| {
                        (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
                    })
            }
            None => false,
        };
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidValue("must be an e-mail address, such as name@example.org".to_owned()))
        }
    }

    /// The address.
    #[must_use]
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
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Placed, Self::Confirmed, Self::Cancelled];

    /// Its name outside.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status of this name.
    #[must_use]
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
    /// Every reason.
    pub const ALL: [Self; 4] =
        [Self::OutOfStock, Self::PaymentDeclined, Self::CustomerRequest, Self::TimedOut];

    /// Its name outside.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutOfStock => "out_of_stock",
            Self::PaymentDeclined => "payment_declined",
            Self::CustomerRequest => "customer_request",
            Self::TimedOut => "timed_out",
        }
    }

    /// The reason of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipient_that_is_printed_stays_unknown() {
        let address = Address {
            street: Text::trusted("1 High Street".to_owned()),
            city: Text::trusted("Leeds".to_owned()),
            postal_code: Text::trusted("LS1".to_owned()),
            country: Text::trusted("GB".to_owned()),
        };
        let email = Email::try_new("zoe@example.org").unwrap();
        let recipient = Recipient { name: Text::trusted("Zoe".to_owned()), email, address };
        assert_eq!(format!("{recipient:?}"), "Recipient { .. }");
        assert_eq!(format!("{:?}", recipient.address), "Address { .. }");
        assert_eq!(format!("{:?}", recipient.email), "Email { .. }");
    }
}
