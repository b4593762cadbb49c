//! Which text the published events carry: printable, bounded, without outer spaces.

/// The most characters of a stock keeping unit, which is compared case-sensitively.
pub const SKU_MAX_CHARS: usize = 64;

/// Why a text is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// It has no characters.
    #[error("must not be empty")]
    Empty,
    /// It has too many.
    #[error("must have at most {max_chars} characters")]
    TooLong {
        /// The most that it may have.
        max_chars: usize,
    },
    /// Its first or last character is a space.
    #[error("must not begin or end with a space")]
    OuterSpace,
    /// It has a character that shows nothing.
    #[error("must consist of printable characters; found U+{:04X}", u32::from(*found))]
    NotPrintable {
        /// The first of them.
        found: char,
    },
}

/// Whether this is text of 1 to `max_chars` printable characters; inner spaces are allowed, leading and trailing ones
/// are not.
///
/// # Errors
/// When it is not.
pub fn check(text: &str, max_chars: usize) -> Result<(), InvalidText> {
    if text.is_empty() {
        return Err(InvalidText::Empty);
    }
    if text.chars().count() > max_chars {
        return Err(InvalidText::TooLong { max_chars });
    }
    if text.starts_with(' ') || text.ends_with(' ') {
        return Err(InvalidText::OuterSpace);
    }
    match text.chars().find(|c| !is_printable(*c)) {
        Some(found) => Err(InvalidText::NotPrintable { found }),
        None => Ok(()),
    }
}

/// A plain space is printable; control characters (U+0000 among them, which PostgreSQL can't store), other white
/// space and invisible formatting (zero-width, directional, byte order mark) are not.
fn is_printable(c: char) -> bool {
    let invisible = matches!(
        c,
        '\u{00AD}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}'
            | '\u{FFF9}'..='\u{FFFB}'
    );
    c == ' ' || !(c.is_control() || c.is_whitespace() || invisible)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_printable_and_bounded_and_has_no_outer_spaces() {
        for good in ["85123A", "BANK CHARGES", "x", "ÄÖÜ ß", "ééé", &"é".repeat(64)] {
            assert_eq!(check(good, 64), Ok(()), "{good:?}");
        }
        for (bad, reason) in [
            ("", InvalidText::Empty),
            (&*"x".repeat(65), InvalidText::TooLong { max_chars: 64 }),
            (" x", InvalidText::OuterSpace),
            ("x ", InvalidText::OuterSpace),
            ("a\u{0}b", InvalidText::NotPrintable { found: '\u{0}' }),
            ("a\tb", InvalidText::NotPrintable { found: '\t' }),
            ("a\u{a0}b", InvalidText::NotPrintable { found: '\u{a0}' }),
            ("a\u{200b}b", InvalidText::NotPrintable { found: '\u{200b}' }),
        ] {
            assert_eq!(check(bad, 64), Err(reason), "{bad:?}");
        }
    }
}
