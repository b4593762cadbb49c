//! A stock keeping unit, as the catalogue writes it.

use std::fmt;

use contracts::text::{InvalidText, SKU_MAX_CHARS, check_published, check_sku};

/// A stock keeping unit: 1 to 64 printable characters, case-sensitive, with inner spaces allowed (real ones have them).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sku(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{sku:?} is no SKU: it {reason}")]
pub struct InvalidSku {
    sku: String,
    reason: InvalidText,
}

impl Sku {
    /// A new SKU.
    ///
    /// # Errors
    /// When the text is no SKU.
    pub fn parse(text: &str) -> Result<Self, InvalidSku> {
        Self::checked(text, check_sku(text))
    }

    /// The SKU of an event, or one that is looked up, valid under the rule of its time.
    ///
    /// # Errors
    /// When it never was one.
    pub fn published(text: &str) -> Result<Self, InvalidSku> {
        Self::checked(text, check_published(text, SKU_MAX_CHARS))
    }

    fn checked(text: &str, valid: Result<(), InvalidText>) -> Result<Self, InvalidSku> {
        match valid {
            Ok(()) => Ok(Self(text.to_owned())),
            Err(reason) => Err(InvalidSku { sku: text.chars().take(SKU_MAX_CHARS + 1).collect(), reason }),
        }
    }

    /// A stored SKU, which was valid under the rule of its time.
    pub const fn trusted(text: String) -> Self {
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
