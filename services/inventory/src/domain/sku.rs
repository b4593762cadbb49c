//! A stock keeping unit, as the catalogue writes it.

use std::fmt;

/// The most characters that a SKU may have.
pub const MAX_CHARACTERS: usize = 64;

/// A stock keeping unit: 1 to 64 printable characters, case-sensitive, with inner spaces allowed (real ones have them).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sku(String);

/// Why a text is no SKU.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a SKU has 1 to 64 printable characters and neither begins nor ends with a space: {0:?}")]
pub struct InvalidSku(String);

impl Sku {
    /// The SKU that this text is.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, InvalidSku> {
        let length = text.chars().count();
        let printable = |c: char| c == ' ' || !(c.is_control() || c.is_whitespace());
        if (1..=MAX_CHARACTERS).contains(&length) && text.trim() == text && text.chars().all(printable) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidSku(text.chars().take(MAX_CHARACTERS + 1).collect()))
        }
    }

    /// The SKU as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
