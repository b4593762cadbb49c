//! Text in an order: printable and bounded, with a type for each meaning.

use std::fmt;

use contracts::text::{SKU_MAX_CHARS, check, check_sku};
use serde::{Deserialize, Serialize};

use super::values::InvalidValue;

/// Text of 1 to `MAX` printable characters; inner spaces are allowed, leading and trailing ones are not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Text<const MAX: usize>(String);

/// A stock keeping unit, compared case-sensitively.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sku(Text<SKU_MAX_CHARS>);

/// A customer's id, opaque to us.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CustomerId(Text<100>);

/// A payment provider's token for a way to pay. Whoever has it can charge the customer, so it never prints.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PaymentMethod(Text<100>);

impl<const MAX: usize> Text<MAX> {
    /// The text, if it keeps the rules.
    ///
    /// # Errors
    /// When it is empty, too long, or holds what can't be printed.
    pub fn try_new(text: &str) -> Result<Self, InvalidValue> {
        match check(text, MAX) {
            Ok(()) => Ok(Self(text.to_owned())),
            Err(invalid) => Err(InvalidValue(invalid.to_string())),
        }
    }

    /// Text that kept the rules when it was stored, whatever they are today.
    pub const fn trusted(text: String) -> Self {
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Sku {
    /// The SKU, if it is text of 1 to 64 characters that an address can name.
    ///
    /// # Errors
    /// When it is not.
    pub fn try_new(sku: &str) -> Result<Self, InvalidValue> {
        match check_sku(sku) {
            Ok(()) => Ok(Self(Text::trusted(sku.to_owned()))),
            Err(invalid) => Err(InvalidValue(invalid.to_string())),
        }
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl CustomerId {
    /// The id, if it is text of 1 to 100 characters.
    ///
    /// # Errors
    /// When it is not.
    pub fn try_new(id: &str) -> Result<Self, InvalidValue> {
        Text::try_new(id).map(Self)
    }

    /// An id that kept the rules when it was stored.
    pub const fn trusted(id: String) -> Self {
        Self(Text::trusted(id))
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for CustomerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PaymentMethod {
    /// The method behind this token, if it is text of 1 to 100 characters.
    ///
    /// # Errors
    /// When it is not.
    pub fn try_new(token: &str) -> Result<Self, InvalidValue> {
        Text::try_new(token).map(Self)
    }

    /// The token itself, for the event that payment consumes.
    pub fn token(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for PaymentMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PaymentMethod(redacted)")
    }
}
