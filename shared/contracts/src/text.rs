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

    #[test]
    fn joiners_are_text_where_their_script_needs_them() {
        for good in [
            "می\u{200c}خواهم", // Persian: between letters that join
            "ها\u{200c}ی",     // behind a letter that joins on one side
            "ශ්\u{200d}රී ලංකා",  // Sinhala: behind a virama
            "ന്\u{200d}",       // Malayalam: a chillu at the end
            "क्\u{200c}ष",      // Devanagari: an explicit virama
            "葛\u{e0100}城",   // an ideographic variant, as in Japanese names
            "☎\u{fe0f}",
            "Ελένη",
            "Zoë",
            "O\u{2019}Neill",
        ] {
            assert_eq!(check(good, 64), Ok(()), "{good:?}");
        }
        for bad in [
            "a\u{200d}b",
            "a\u{200c}b",
            "\u{200d}",
            "\u{200c}می",
            "می\u{200c}\u{200c}خ",
            "می\u{200c}",
            "می\u{200c} خ",
            "85123A\u{200d}",
            "葛\u{e0100}\u{e0101}",
            "\u{fe0f}x",
        ] {
            assert!(matches!(check(bad, 64), Err(InvalidText::NotPrintable { .. })), "{bad:?}");
        }
    }

    #[test]
    fn what_shows_nothing_or_changes_what_is_shown_is_no_text() {
        for found in [
            '\u{0}',
            '\u{1b}',
            '\u{7f}',
            '\u{85}',
            '\u{a0}',
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{1160}',
            '\u{17b4}',
            '\u{17b5}',
            '\u{180e}',
            '\u{200b}',
            '\u{200e}',
            '\u{200f}',
            '\u{2028}',
            '\u{2029}',
            '\u{202a}',
            '\u{202b}',
            '\u{202c}',
            '\u{202d}',
            '\u{202e}',
            '\u{2060}',
            '\u{2061}',
            '\u{2066}',
            '\u{2067}',
            '\u{2068}',
            '\u{2069}',
            '\u{206a}',
            '\u{2800}',
            '\u{3000}',
            '\u{3164}',
            '\u{e000}',
            '\u{fdd0}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fff9}',
            '\u{ffff}',
            '\u{1bca0}',
            '\u{1d173}',
            '\u{e0000}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{e007f}',
            '\u{e01f0}',
        ] {
            assert_eq!(
                check(&format!("a{found}b"), 64),
                Err(InvalidText::NotPrintable { found }),
                "{found:?}"
            );
        }
    }
}
