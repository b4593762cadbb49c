//! Decimal prices as exact minor units: digits are moved, never multiplied as floats.

/// A price as the file states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Price {
    /// Whole minor units above zero.
    Minor(i64),
    /// Zero or less.
    NotPositive,
    /// Above zero with a fraction of a minor unit.
    Fractional,
}

/// Why a text is no price at all: the file is broken, not the invoice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a decimal number")]
pub struct NotANumber(pub String);

impl Price {
    /// Reads a decimal such as `2.55`, `-11062.06` or `0.001` with two digits of minor units.
    ///
    /// # Errors
    /// When the text is no decimal number, or its value does not fit 64 bits.
    pub fn parse(text: &str) -> Result<Self, NotANumber> {
        let refuse = || NotANumber(text.to_owned());
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(whole) || !is_digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
            return Err(refuse());
        }
        let (minor_digits, rest) = fraction.split_at(fraction.len().min(2));
        let minor = format!("{whole}{minor_digits:0<2}").parse::<i64>().map_err(|_| refuse())?;
        let has_rest = rest.bytes().any(|byte| byte != b'0');
        Ok(match (negative, minor, has_rest) {
            (true, _, _) | (false, 0, false) => Self::NotPositive,
            (false, _, true) => Self::Fractional,
            (false, minor, false) => Self::Minor(minor),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prices_of_the_real_file_are_read_exactly() {
        for (text, expected) in [
            ("2.55", Price::Minor(255)),
            ("2.5", Price::Minor(250)),
            ("2", Price::Minor(200)),
            (".5", Price::Minor(50)),
            ("0.01", Price::Minor(1)),
            ("2.5500", Price::Minor(255)),
            ("13541.33", Price::Minor(1_354_133)),
            ("0", Price::NotPositive),
            ("0.000", Price::NotPositive),
            ("-11062.06", Price::NotPositive),
            ("0.001", Price::Fractional),
            ("1.005", Price::Fractional),
        ] {
            assert_eq!(Price::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_decimal_number_is_refused() {
        for text in ["", "-", ".", "1,5", "1e3", " 1", "+1", "1.2.3", "NaN", "99999999999999999999"] {
            assert!(Price::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_whole_number_of_pence_survives(pence in 1_i64..=1_000_000_000) {
            let text = format!("{}.{:02}", pence / 100, pence % 100);
            prop_assert_eq!(Price::parse(&text), Ok(Price::Minor(pence)));
        }
    }
}
