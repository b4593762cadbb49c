//! Every SQL statement of the source tree: a string literal in the call, so that it can be found and PREPAREd.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::Violation;
use crate::layers::colons;
use crate::sources::{Source, without_tests};

/// A statement and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The file, from the repository's root.
    pub file: String,
    /// The line of the literal.
    pub line: usize,
    /// The SQL.
    pub sql: String,
}

/// What was found in one file.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The statements.
    pub statements: Vec<Statement>,
    /// Calls whose SQL can't be known, and ways around the rule.
    pub violations: Vec<Violation>,
}

/// Where SQL can't be a literal: transactions begin with numbers that come from the configuration, and the name of a new database,
/// which the server quotes, can't be a parameter.
const NO_LITERALS: [&str; 2] = ["shared/database/src/conversation.rs", "tools/tidings/src/up/databases.rs"];

/// Names by which SQL that is no literal could be run.
const WAYS_AROUND: [&str; 3] = ["AssertSqlSafe", "QueryBuilder", "raw_sql"];

/// All statements of a file, except in its tests.
///
/// # Errors
/// When the file is no Rust.
pub fn statements(source: &Source) -> anyhow::Result<Found> {
    let tokens: TokenStream =
        source.text.parse().map_err(|error| anyhow::anyhow!("{} is no Rust: {error}", source.path))?;
    let mut found = Found::default();
    scan(&source.path, tokens, &mut found);
    Ok(found)
}

/// Works on tokens, so that what stands inside `tokio::select!` and its like is seen too.
fn scan(file: &str, tokens: TokenStream, found: &mut Found) {
    let tokens = without_tests(tokens);
    for at in 0..tokens.len() {
        match &tokens[at] {
            TokenTree::Group(group) => scan(file, group.stream(), found),
            TokenTree::Ident(ident) => {
                let name = ident.to_string();
                let line = ident.span().start().line;
                if WAYS_AROUND.contains(&name.as_str()) && !NO_LITERALS.contains(&file) {
                    found.violations.push(Violation::new(
                        file,
                        line,
                        format!("{name} hides SQL from the checks"),
                    ));
                } else if name.starts_with("query")
                    && at >= 3
                    && colons(&tokens, at - 2)
                    && is(&tokens[at - 3], "sqlx")
                {
                    call(file, &name, line, &tokens[at + 1..], found);
                } else if name == "sqlx" && imports_query(&tokens[at + 1..]) {
                    found.violations.push(Violation::new(
                        file,
                        line,
                        "call sqlx::query..., so that it is found",
                    ));
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

fn is(token: &TokenTree, name: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == name)
}

/// What follows `sqlx::query...`: perhaps a turbofish, then the arguments, of which the first is the SQL.
fn call(file: &str, name: &str, line: usize, rest: &[TokenTree], found: &mut Found) {
    // Types such as `sqlx::query::Query<'_, Postgres>`, and imports, are no calls.
    let Some(TokenTree::Group(arguments)) = rest.get(turbofish(rest)) else { return };
    if arguments.delimiter() != Delimiter::Parenthesis {
        return;
    }
    let mut arguments = arguments.stream().into_iter();
    let (first, second) = (arguments.next(), arguments.next());
    let ends = second.is_none_or(|token| matches!(&token, TokenTree::Punct(punct) if punct.as_char() == ','));
    let literal = match first {
        Some(TokenTree::Literal(literal)) if ends => syn::parse_str::<syn::LitStr>(&literal.to_string()).ok(),
        _ => None,
    };
    match literal {
        Some(literal) => {
            found.statements.push(Statement { file: file.to_owned(), line, sql: literal.value() });
        }
        None => {
            found.violations.push(Violation::new(file, line, format!("sqlx::{name} wants a string literal")));
        }
    }
}

/// How many tokens a `::<...>` takes that stands here; 0 without one.
fn turbofish(tokens: &[TokenTree]) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(2) {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '<' => depth += 1,
            TokenTree::Punct(punct) if punct.as_char() == '>' && depth == 1 => return at + 1,
            TokenTree::Punct(punct) if punct.as_char() == '>' => depth = depth.saturating_sub(1),
            _ if depth == 0 => return 0,
            _ => {}
        }
    }
    0
}

/// Whether `use sqlx::...query...` continues here.
fn imports_query(rest: &[TokenTree]) -> bool {
    if !colons(rest, 0) {
        return false;
    }
    match rest.get(2) {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => group
            .stream()
            .into_iter()
            .any(|token| matches!(&token, TokenTree::Ident(ident) if ident.to_string().starts_with("query"))),
        Some(TokenTree::Ident(ident)) if ident.to_string().starts_with("query") => {
            matches!(rest.get(3), Some(TokenTree::Punct(punct)) if punct.as_char() == ';')
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Found {
        statements(&Source { path: "a.rs".to_owned(), text: text.to_owned() }).unwrap()
    }

    #[test]
    fn literals_are_found_wherever_they_stand() {
        for text in [
            r#"fn f() { sqlx::query("SELECT 1"); }"#,
            r##"fn f() { sqlx::query_as::<_, (i64, Vec<String>)>(r#"SELECT 1"#); }"##,
            r#"fn f() { tokio::select! { x = sqlx::query_scalar("SELECT 1",).fetch_one(c) => {} } }"#,
            "fn f() { sqlx::query(\n    \"SELECT \\\n     1\",\n); }",
        ] {
            let found = found(text);
            assert!(found.violations.is_empty(), "{text}: {:?}", found.violations);
            assert_eq!(found.statements.len(), 1, "{text}");
            assert_eq!(found.statements[0].sql, "SELECT 1", "{text}");
        }
    }

    #[test]
    fn sql_that_is_no_literal_is_refused() {
        for text in [
            r#"fn f() { sqlx::query(&format!("SELECT {x}")); }"#,
            "fn f() { sqlx::query(SQL); }",
            r#"fn f() { sqlx::query_as::<_, Row>(concat!("SELECT ", "1")); }"#,
            r#"fn f() { sqlx::query("SELECT ".to_owned() + x); }"#,
            "use sqlx::query;",
            "use sqlx::{PgPool, query_as};",
            "fn f() { c.execute(sqlx::AssertSqlSafe(text)); }",
            r#"fn f() { sqlx::raw_sql("SELECT 1"); }"#,
            "use sqlx::QueryBuilder;",
        ] {
            assert_eq!(found(text).violations.len(), 1, "{text}");
        }
    }

    #[test]
    fn tests_and_types_are_left_alone() {
        for text in [
            r#"#[cfg(test)] mod tests { fn f() { sqlx::query(x); } }"#,
            "fn f() -> sqlx::query::Query<'static, Postgres, A> { g() }",
        ] {
            let found = found(text);
            assert!(found.violations.is_empty() && found.statements.is_empty(), "{text}: {found:?}");
        }
    }
}
