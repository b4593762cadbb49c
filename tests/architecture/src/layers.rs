//! Inside a crate: dependencies point inward, and files look like their neighbours.

use proc_macro2::{TokenStream, TokenTree};

use crate::Violation;
use crate::sources::Source;

/// What a domain must not know: input, output, and everything further out.
const OUTSIDE_DOMAIN: [&str; 12] = [
    "adapters",
    "application",
    "axum",
    "inbox",
    "messaging",
    "outbox",
    "rdkafka",
    "reqwest",
    "service",
    "sqlx",
    "sqlx_macros",
    "tokio",
];

/// What only adapters, and the wiring in `main.rs`, know.
const ADAPTERS_ONLY: [&str; 4] = ["axum", "rdkafka", "sqlx", "sqlx_macros"];

/// A `main.rs` is a table of contents.
const MAIN_LINES: usize = 60;

/// Where we look again.
const LONG_FILE_LINES: usize = 300;

/// Every rule of a Rust file.
///
/// # Errors
/// When the file is no Rust.
pub fn violations(source: &Source) -> anyhow::Result<Vec<Violation>> {
    let mut violations = Vec::new();
    let path = source.path.as_str();
    if path.ends_with("/mod.rs") {
        violations.push(Violation::new(path, 0, "name.rs beside name/, never mod.rs"));
    }
    if !source.text.trim_start().starts_with("//!") {
        violations.push(Violation::new(
            path,
            1,
            "a file begins with a //! sentence: what lives here, and why",
        ));
    }
    if path.ends_with("/src/main.rs")
        && path.starts_with("services/")
        && source.text.lines().count() > MAIN_LINES
    {
        violations.push(Violation::new(
            path,
            0,
            format!("main.rs is wiring only, at most {MAIN_LINES} lines"),
        ));
    }
    let tokens: TokenStream =
        source.text.parse().map_err(|error| anyhow::anyhow!("{path} is no Rust: {error}"))?;
    let Some(("services", rest)) = path.split_once('/') else { return Ok(violations) };
    let Some((_, inside)) = rest.split_once("/src/") else { return Ok(violations) };
    if inside == "domain.rs" || inside.starts_with("domain/") {
        forbid(path, tokens, &OUTSIDE_DOMAIN, "the domain is pure: it does not know", &mut violations);
    } else if inside != "main.rs" && inside != "adapters.rs" && !inside.starts_with("adapters/") {
        forbid(path, tokens, &ADAPTERS_ONLY, "only adapters know", &mut violations);
    }
    Ok(violations)
}

/// The files that are longer than a reader likes; a report, not a rule.
pub fn long_files(sources: &[Source]) -> Vec<(usize, String)> {
    let mut long: Vec<(usize, String)> = sources
        .iter()
        .map(|source| (source.text.lines().count(), source.path.clone()))
        .filter(|(lines, _)| *lines > LONG_FILE_LINES)
        .collect();
    long.sort_by(|a, b| b.cmp(a));
    long
}

/// Finds `name::` and `::name` in paths; a local variable of that name is none.
fn forbid(path: &str, tokens: TokenStream, names: &[&str], rule: &str, violations: &mut Vec<Violation>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => forbid(path, group.stream(), names, rule, violations),
            TokenTree::Ident(ident) => {
                let follows = colons(&tokens, at + 1) || (at >= 2 && colons(&tokens, at - 2));
                let used = at > 0 && matches!(&tokens[at - 1], TokenTree::Ident(before) if before == "use");
                let name = ident.to_string();
                if (follows || used) && names.contains(&name.as_str()) {
                    let line = ident.span().start().line;
                    violations.push(Violation::new(path, line, format!("{rule} {name}")));
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// Whether `::` stands at this place.
pub(crate) fn colons(tokens: &[TokenTree], at: usize) -> bool {
    let is_colon =
        |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    is_colon(at) && is_colon(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, text: &str) -> Vec<String> {
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        violations(&source).unwrap().into_iter().map(|violation| violation.rule).collect()
    }

    #[test]
    fn each_rule_rejects_what_it_forbids() {
        let long_main = format!("//! Wiring.\n{}", "fn f() {}\n".repeat(MAIN_LINES));
        for (path, text, expected) in [
            ("shared/inbox/src/a/mod.rs", "//! A.", "mod.rs"),
            ("shared/inbox/src/a.rs", "use std::fmt;", "//!"),
            ("services/order/src/main.rs", long_main.as_str(), "at most 60 lines"),
            ("services/order/src/domain.rs", "//! D.\nuse sqlx::PgPool;", "sqlx"),
            (
                "services/order/src/domain/order.rs",
                "//! D.\nfn f() { crate::adapters::http::routes(); }",
                "adapters",
            ),
            ("services/order/src/domain/order.rs", "//! D.\nuse {axum::Json, std::fmt};", "axum"),
            ("services/order/src/domain/order.rs", "//! D.\nmacro!{ tokio::select!() }", "tokio"),
            (
                "services/order/src/application/place.rs",
                "//! P.\nasync fn f(c: &mut sqlx::PgConnection) {}",
                "sqlx",
            ),
            ("services/order/src/config.rs", "//! C.\nuse axum::Router;", "axum"),
        ] {
            let found = broken(path, text);
            assert!(found.len() == 1 && found[0].contains(expected), "{path}: {found:?}");
        }
    }

    #[test]
    fn what_is_allowed_passes() {
        for (path, text) in [
            ("services/order/src/adapters/postgres.rs", "//! P.\nuse sqlx::PgPool;"),
            ("services/order/src/main.rs", "//! M.\nuse sqlx::PgPool;"),
            ("services/order/src/domain.rs", "//! D.\nfn f(service: u8) -> u8 { service }"),
            ("shared/inbox/src/batch.rs", "//! B.\nuse sqlx::PgPool;"),
        ] {
            assert_eq!(broken(path, text), Vec::<String>::new(), "{path}");
        }
    }
}
