//! Sums of money and units: what does not fit is an error, and never another number.

use anyhow::Context;
use proc_macro2::{TokenStream, TokenTree};
use toml::{Table, Value};

use crate::Violation;
use crate::sources::{Source, without_tests};

/// Beginnings of the names of methods that give another number than the sum.
const OTHER_NUMBERS: [&str; 3] = ["saturating_", "wrapping_", "overflowing_"];

/// A method of moments.
const OF_MOMENTS: &str = "saturating_duration_since";

/// Files that use them on something else, and on what.
const NO_SUMS: [(&str, &str); 4] = [
    ("services/order/src/adapters/metrics.rs", "a duration"),
    ("services/order/src/domain/decide.rs", "the number of shortages that are not named"),
    ("services/payment/src/application/saga_job.rs", "the tries of a step"),
    ("shared/contracts/src/gate.rs", "the version of a schema"),
];

/// Saturating and wrapping arithmetic in the services and contracts, sums that SQL narrows to 64 bits, and a release profile that
/// wraps.
///
/// # Errors
/// When a file can't be parsed.
pub fn violations(workspace: &str, sources: &[Source]) -> anyhow::Result<Vec<Violation>> {
    let mut violations = Vec::new();
    let is_ours = |path: &str| {
        (path.starts_with("services/") || path.starts_with("shared/contracts/")) && path.contains("/src/")
    };
    for source in sources.iter().filter(|source| is_ours(&source.path) && !source.path.contains("/tests")) {
        let tokens: TokenStream =
            source.text.parse().map_err(|error| anyhow::anyhow!("{} is no Rust: {error}", source.path))?;
        let mut found = Vec::new();
        find(tokens, &mut found);
        let counts_no_sums = NO_SUMS.iter().find(|(path, _)| *path == source.path);
        match counts_no_sums {
            Some((path, what)) if found.is_empty() => {
                let rule = format!("is listed as an exception for {what}, which it does not need");
                violations.push(Violation::new(path, 0, rule));
            }
            Some(_) => {}
            None => violations.extend(found.into_iter().map(|(line, name)| {
                let rule = format!("{name}: use checked or wider arithmetic on money and units");
                Violation::new(&source.path, line, rule)
            })),
        }
        for (line, text) in (1..).zip(source.text.lines()) {
            let sum = text.split_once("sum(").map(|(_, rest)| rest);
            if sum.is_some_and(|rest| rest.contains(")::bigint")) {
                violations.push(Violation::new(
                    &source.path,
                    line,
                    "a sum is `numeric`: it may exceed 64 bits",
                ));
            }
        }
    }
    let profiles: Table = workspace.parse().context("parsing Cargo.toml")?;
    let checks = ["profile", "release"].iter().try_fold(&profiles, |table, key| table.get(*key)?.as_table());
    if checks.and_then(|release| release.get("overflow-checks")).and_then(Value::as_bool) != Some(true) {
        let rule = "[profile.release] has no `overflow-checks = true`: a forgotten sum would wrap";
        violations.push(Violation::new("Cargo.toml", 0, rule));
    }
    Ok(violations)
}

fn find(tokens: TokenStream, found: &mut Vec<(usize, String)>) {
    for token in without_tests(tokens) {
        match token {
            TokenTree::Ident(name) => {
                let text = name.to_string();
                if text != OF_MOMENTS && OTHER_NUMBERS.iter().any(|beginning| text.starts_with(beginning)) {
                    found.push((name.span().start().line, text));
                }
            }
            TokenTree::Group(group) => find(group.stream(), found),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECKED: &str = "[profile.release]\noverflow-checks = true";

    fn found(path: &str, text: &str) -> usize {
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        violations(CHECKED, &[source]).unwrap().len()
    }

    #[test]
    fn sums_that_become_other_numbers_are_found() {
        let path = "services/order/src/domain/money.rs";
        assert_eq!(found(path, "fn f(a: i64) -> i64 { a.saturating_add(1) + i64::wrapping_mul(a, 2) }"), 2);
        assert_eq!(found(path, "const S: &str = \"SELECT sum(units)::bigint FROM best_sellers\";"), 1);
    }

    #[test]
    fn other_crates_tests_and_checked_sums_are_left_alone() {
        let saturating = "fn f(a: i64) -> i64 { a.saturating_add(1) }";
        assert_eq!(found("shared/inbox/src/parts.rs", saturating), 0);
        assert_eq!(found("services/order/src/domain/decide.rs", saturating), 0);
        assert_eq!(
            found("services/order/src/a.rs", &format!("#[cfg(test)] mod tests {{ {saturating} }}")),
            0
        );
        assert_eq!(found("services/order/src/a.rs", "fn f(a: i64) -> Option<i64> { a.checked_add(1) }"), 0);
    }

    #[test]
    fn exceptions_that_are_not_needed_and_a_profile_that_wraps_are_found() {
        assert_eq!(found("services/order/src/domain/decide.rs", "fn f() {}"), 1);
        assert_eq!(violations("[profile.release]\nopt-level = 3", &[]).unwrap().len(), 1);
        assert_eq!(violations("", &[]).unwrap().len(), 1);
    }
}
