//! Figures as people read them: grouped thousands, money, percentiles of durations.

use std::time::Duration;

/// `1234567` as `1,234,567`.
pub fn thousands(number: impl Into<i128>) -> String {
    let number = number.into();
    let digits = number.unsigned_abs().to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if number < 0 {
        grouped.push('-');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Minor units of a currency with two decimals: `217909086` as `2,179,090.86`.
pub fn money(minor: impl Into<i128>) -> String {
    let minor = minor.into();
    let sign = if minor < 0 { "-" } else { "" };
    let absolute = minor.unsigned_abs();
    let whole = i128::try_from(absolute / 100).unwrap_or(i128::MAX);
    format!("{sign}{}.{:02}", thousands(whole), absolute % 100)
}

/// A duration with the precision that its size deserves.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1_000.0) } else { format!("{seconds:.1} s") }
}

/// The value at `per_mille` of a sorted list (nearest rank), if there is any.
pub fn percentile<T: Copy>(sorted: &[T], per_mille: usize) -> Option<T> {
    let rank = (sorted.len() * per_mille).div_ceil(1_000).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_grouped() {
        let seen: Vec<_> = [0, 7, 999, 1_000, 1_271_845, -12_345].map(thousands).into();
        assert_eq!(seen, ["0", "7", "999", "1,000", "1,271,845", "-12,345"]);
        assert_eq!([217_909_086, 5, -150].map(money), ["2,179,090.86", "0.05", "-1.50"]);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let hundred: Vec<u32> = (1..=100).collect();
        assert_eq!([500, 990, 1_000].map(|p| percentile(&hundred, p)), [Some(50), Some(99), Some(100)]);
        assert_eq!(percentile(&[7], 500), Some(7));
        assert_eq!(percentile::<u32>(&[], 500), None);
    }
}
