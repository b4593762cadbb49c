//! Which series a PromQL expression asks for. A reader of names, not a parser: whether an expression is PromQL at all is
//! promtool's to say (`make test-alerts`), which is Prometheus' own parser.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};

/// Words that are no series although no parenthesis follows them.
const KEYWORDS: [&str; 8] = ["and", "or", "unless", "offset", "bool", "inf", "nan", "atan2"];

/// Words whose parenthesis holds labels.
const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// Functions that may name their grouping before their parenthesis.
const AGGREGATIONS: [&str; 6] = ["sum", "min", "max", "avg", "count", "group"];

/// The names of all series in `expression`.
///
/// # Errors
/// When quotes, braces or brackets do not close, or a selector names no metric.
pub fn series(expression: &str) -> anyhow::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let mut rest = expression.trim_start();
    let mut follows_name = false;
    while let Some(first) = rest.chars().next() {
        let mut is_name = false;
        rest = if first.is_ascii_alphabetic() || first == '_' || first == ':' {
            let (word, after) = split_word(rest);
            let next = after.trim_start();
            if GROUPINGS.contains(&word) {
                closing(next, '(', ')').with_context(|| format!("{expression}: {word} without labels"))?
            } else {
                let aggregates = AGGREGATIONS.contains(&word) && GROUPINGS.contains(&split_word(next).0);
                let keyword = KEYWORDS.contains(&word.to_ascii_lowercase().as_str());
                is_name = !(next.starts_with('(') || keyword || aggregates);
                if is_name {
                    names.insert(word.to_owned());
                }
                after
            }
        } else if first == '{' {
            ensure!(follows_name, "{expression}: a selector without a metric's name");
            closing(rest, '{', '}').with_context(|| format!("{expression}: an open selector"))?
        } else if first == '[' {
            closing(rest, '[', ']').with_context(|| format!("{expression}: an open range"))?
        } else if first.is_ascii_digit() {
            // A number or a duration.
            rest.trim_start_matches(|one: char| one.is_ascii_alphanumeric() || one == '.')
        } else {
            &rest[first.len_utf8()..]
        };
        rest = rest.trim_start();
        follows_name = is_name;
    }
    Ok(names)
}

fn split_word(text: &str) -> (&str, &str) {
    let is_part = |one: char| one.is_ascii_alphanumeric() || one == '_' || one == ':';
    text.split_at(text.find(|one| !is_part(one)).unwrap_or(text.len()))
}

/// What stands behind the bracket that closes the one with which `text` begins; quoted brackets do not count.
fn closing(text: &str, open: char, close: char) -> Option<&str> {
    let inside = text.strip_prefix(open)?;
    let mut quoted = false;
    for (at, one) in inside.char_indices() {
        if one == '"' {
            quoted = !quoted;
        } else if one == close && !quoted {
            return Some(&inside[at + close.len_utf8()..]);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(expression: &str) -> Vec<String> {
        series(expression).unwrap().into_iter().collect()
    }

    #[test]
    fn series_are_found_wherever_they_stand() {
        assert_eq!(
            found(
                "sum by (job, a) (rate(a_total{x=~\"}b\"}[$__rate_interval])) / on (job) b > 2e3 and c offset 1h"
            ),
            ["a_total", "b", "c"]
        );
        assert_eq!(found("histogram_quantile(0.99, sum(d_bucket) by (le)) or vector(0)"), ["d_bucket"]);
        assert_eq!(found("max(e) without (pod) == bool 1 unless ignoring (x) group_left () f"), ["e", "f"]);
        assert_eq!(found("time() - g"), ["g"]);
    }

    #[test]
    fn a_selector_without_a_name_is_refused() {
        for expression in ["{job=\"order\"}", "rate({__name__=\"a\"}[5m])", "a{x=\"", "rate(a[5m", "sum by a"]
        {
            assert!(series(expression).is_err(), "{expression}");
        }
    }
}
