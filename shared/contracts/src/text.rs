//! Which text the system takes and publishes: printable, bounded, without outer spaces; one rule for all services.
//!
//! After the FreeformClass of PRECIS ([RFC 8264](https://www.rfc-editor.org/rfc/rfc8264#section-4.3)), with the plain space
//! as the only one. Joiners are taken where their script needs them, as in RFC 5892, appendix A.

use unicode_joining_type::{JoiningType, get_joining_type};
use unicode_normalization::char::canonical_combining_class;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

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
    /// It has a character that shows nothing, or shows nothing where it stands.
    #[error("must consist of printable characters; found U+{:04X}", u32::from(*found))]
    NotPrintable {
        /// The first of them.
        found: char,
    },
    /// It is a segment that clients remove from paths (RFC 3986, section 5.2.4).
    #[error("must not be \".\" or \"..\", which no address can name")]
    DotSegment,
}

/// Whether this is text of 1 to `max_chars` printable characters; inner spaces are allowed, leading and trailing ones
/// are not.
///
/// # Errors
/// When it is not.
pub fn check(text: &str, max_chars: usize) -> Result<(), InvalidText> {
    check_published(text, max_chars)?;
    not_printable(text).map_or(Ok(()), |found| Err(InvalidText::NotPrintable { found }))
}

/// Whether this is a stock keeping unit: text, which addresses name.
///
/// # Errors
/// When it is not.
pub fn check_sku(text: &str) -> Result<(), InvalidText> {
    if matches!(text, "." | "..") { Err(InvalidText::DotSegment) } else { check(text, SKU_MAX_CHARS) }
}

/// Whether an event or a stored row may have this text. Another release has accepted it by its own rule, so that only what
/// no release accepts and no table takes is refused.
///
/// # Errors
/// When it may not.
pub fn check_published(text: &str, max_chars: usize) -> Result<(), InvalidText> {
    if text.is_empty() {
        return Err(InvalidText::Empty);
    }
    if text.chars().count() > max_chars {
        return Err(InvalidText::TooLong { max_chars });
    }
    if text.starts_with(' ') || text.ends_with(' ') {
        return Err(InvalidText::OuterSpace);
    }
    match text.chars().find(|c| c.is_control()) {
        Some(found) => Err(InvalidText::NotPrintable { found }),
        None => Ok(()),
    }
}

/// The first character that shows nothing where it stands.
fn not_printable(text: &str) -> Option<char> {
    let characters: Vec<char> = text.chars().collect();
    let shows = |at: usize| {
        let (before, c, after) = (&characters[..at], characters[at], &characters[at + 1..]);
        match c {
            ' ' => true,
            '\u{200C}' | '\u{200D}' => joins(before, after),
            _ if is_variation_selector(c) => before.last().is_some_and(|base| takes_a_variation(*base)),
            _ => is_visible(c),
        }
    };
    (0..characters.len()).find(|at| !shows(*at)).map(|at| characters[at])
}

/// Whether a joiner has an effect there: behind a virama, or between letters that join (RFC 5892, appendices A.1 and A.2; also
/// behind a letter that only joins to the one before it, where Persian is typed so).
fn joins(before: &[char], after: &[char]) -> bool {
    const VIRAMA: u8 = 9;
    let joining = |c: Option<&char>| {
        c.is_some_and(|c| {
            use JoiningType::{DualJoining, LeftJoining, RightJoining};
            matches!(get_joining_type(*c), DualJoining | LeftJoining | RightJoining)
        })
    };
    let is_letter = |c: &&char| get_joining_type(**c) != JoiningType::Transparent;
    before.last().is_some_and(|last| canonical_combining_class(*last) == VIRAMA)
        || (joining(before.iter().rev().find(is_letter)) && joining(after.iter().find(is_letter)))
}

/// One selects a variant of the character before it, as in Japanese names.
const fn is_variation_selector(c: char) -> bool {
    matches!(c, '\u{180B}'..='\u{180D}' | '\u{180F}' | '\u{FE00}'..='\u{FE0F}' | '\u{E0100}'..='\u{E01EF}')
}

fn takes_a_variation(c: char) -> bool {
    c != ' ' && !is_variation_selector(c) && is_visible(c)
}

fn is_visible(c: char) -> bool {
    use GeneralCategory as Category;
    // Letters, marks and symbols that Unicode ignores by default, and the empty pattern of Braille.
    let is_filler = matches!(
        c,
        '\u{034F}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{2800}' | '\u{3164}' | '\u{FFA0}'
    );
    let shows_nothing = matches!(
        c.general_category(),
        Category::Control
            | Category::Format
            | Category::LineSeparator
            | Category::ParagraphSeparator
            | Category::PrivateUse
            | Category::SpaceSeparator
            | Category::Surrogate
            | Category::Unassigned
    );
    !(is_filler || shows_nothing)
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

    #[test]
    fn what_another_release_published_is_taken_if_it_can_be_stored() {
        for good in ["a\u{3164}", "a\u{202e}b", ".", &"é".repeat(64)] {
            assert_eq!(check_published(good, 64), Ok(()), "{good:?}");
        }
        for bad in ["", " a", "a\u{0}", &"é".repeat(65)] {
            assert!(check_published(bad, 64).is_err(), "{bad:?}");
        }
        assert_eq!((check_sku("."), check_sku("...")), (Err(InvalidText::DotSegment), Ok(())));
    }
}
