//! Every wait for a foreign system has a bound on our side. Each system is spoken to through few files, and each of them names its
//! bound; another way is found by the name of the client's types.

use std::fmt::Write as _;

use proc_macro2::{TokenStream, TokenTree};

use crate::Violation;
use crate::layers::colons;
use crate::sources::Source;

/// A foreign system, and the only files that speak to it.
pub struct System {
    name: &'static str,
    /// What no other file names; with a dot before it, what no other file calls.
    client: &'static [&'static str],
    doors: &'static [Door],
}

/// A file, or a folder, that speaks to a foreign system.
pub struct Door {
    path: &'static str,
    /// What in it names the bound.
    bound: &'static str,
    /// The bound as text.
    text: &'static str,
}

const fn door(path: &'static str, bound: &'static str, text: &'static str) -> Door {
    Door { path, bound, text }
}

/// All of them.
pub const SYSTEMS: &[System] = &[
    System {
        name: "PostgreSQL",
        client: &[
            "ConnectOptions",
            "PgListener",
            "PgPool",
            "PgPoolOptions",
            "connect_with",
            ".migration_session",
            ".session",
        ],
        doors: &[
            door(
                "shared/database/src/",
                "timeout",
                "`database.work_timeout_ms` (12 s), `database.request_timeout_ms` (6 s): the connection is dropped",
            ),
            door(
                "shared/outbox/src/relay/poll.rs",
                "answer_timeout",
                "12 s per statement of the relay's session (`outbox.statement_timeout_ms` and half of it)",
            ),
            door(
                "services/analytics/src/adapters/rebuild.rs",
                "LEADER_TIMEOUT",
                "12 s per statement of the session that holds the rebuild's lock",
            ),
            door(
                "shared/service/src/database.rs",
                "migration_session",
                "`lifecycle.start_timeout_ms` for migrations and checks at the start",
            ),
            door(
                "shared/outbox/src/relay/poll/listener.rs",
                "acquire_timeout",
                "none: it only wakes the relay, which also polls",
            ),
            door(
                "tools/tidings/src/verify/databases.rs",
                "SILENCE",
                "10 s to connect, 5 min without a row or a response, 60 s for a round of `--follow`",
            ),
            door("tools/tidings/src/up/databases.rs", "timeout", "30 s for all databases"),
        ],
    },
    System {
        name: "Kafka",
        client: &["rdkafka"],
        doors: &[
            door(
                "shared/messaging/src/",
                "request_timeout",
                "`kafka.request_timeout_ms` (5 s) per request; delivery is bounded by the relay, `outbox.delivery_timeout_ms` (60 s)",
            ),
            door(
                "tools/tidings/src/verify/topics.rs",
                "ANSWER_TIMEOUT",
                "10 s per response, 30 s without a record",
            ),
            door("tools/tidings/src/follow.rs", "ANSWER_TIMEOUT", "10 s per response"),
        ],
    },
    System {
        name: "schema registry",
        client: &["schema_registry_converter"],
        doors: &[door("shared/contracts/src/codec/registry.rs", "CALL_TIMEOUT", "3 s per call")],
    },
    System {
        name: "mail server",
        client: &["lettre"],
        doors: &[door(
            "services/notification/src/adapters/smtp.rs",
            "timeout",
            "`notification.send_timeout_ms` (10 s); then the mail is retried, and after five such calls the worker pauses",
        )],
    },
    System {
        name: "trace collector",
        client: &["opentelemetry_otlp"],
        doors: &[door(
            "shared/telemetry/src/",
            "with_timeout",
            "`telemetry.otlp_timeout_ms` (5 s); then spans are dropped",
        )],
    },
    System {
        name: "HTTP",
        client: &["reqwest"],
        doors: &[
            door("shared/contracts/src/http.rs", "connect_timeout", "that of each caller"),
            door("shared/contracts/src/codec/registry.rs", "CALL_TIMEOUT", "3 s per call"),
            door("tools/tidings/src/client.rs", "REQUEST_TIMEOUT", "40 s: above the longest `Prefer: wait`"),
            door("tools/tidings/src/verify/topics.rs", "ANSWER_TIMEOUT", "10 s per response"),
        ],
    },
];

/// Where foreign systems are played, not spoken to.
const PLAYED: [&str; 2] = ["tools/embedded/", "tests/testkit/"];

/// Uses of a client outside of its doors, and doors that name no bound.
///
/// # Errors
/// When a file is no Rust.
pub fn violations(sources: &[Source]) -> anyhow::Result<Vec<Violation>> {
    let mut violations = Vec::new();
    for source in sources {
        let is_ours = ["services/", "shared/", "tools/"].iter().any(|folder| source.path.starts_with(folder));
        let is_tested = source.path.contains("/tests/") || source.path.ends_with("/tests.rs");
        if !is_ours || is_tested || PLAYED.iter().any(|folder| source.path.starts_with(folder)) {
            continue;
        }
        let tokens: TokenStream =
            source.text.parse().map_err(|error| anyhow::anyhow!("{} is no Rust: {error}", source.path))?;
        for system in SYSTEMS {
            if !system.doors.iter().any(|door| source.path.starts_with(door.path)) {
                find(&source.path, tokens.clone(), system, &mut violations);
            }
        }
    }
    for door in SYSTEMS.iter().flat_map(|system| system.doors) {
        let named = |source: &&Source| source.path.starts_with(door.path) && source.text.contains(door.bound);
        if !sources.iter().any(|source| named(&source)) {
            violations.push(Violation::new(door.path, 0, format!("its bound {} is not there", door.bound)));
        }
    }
    Ok(violations)
}

/// The table of all doors, as ARCHITECTURE.md has it.
pub fn table() -> String {
    let mut table = "| system | used in | bound |\n|---|---|---|\n".to_owned();
    for System { name, doors, .. } in SYSTEMS {
        for Door { path, text, .. } in *doors {
            let _ = writeln!(table, "| {name} | `{path}` | {text} |");
        }
    }
    table
}

fn find(path: &str, tokens: TokenStream, system: &System, violations: &mut Vec<Violation>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        if let Some(after) = crate::sql::test_module(&tokens, at) {
            at = after;
            continue;
        }
        match &tokens[at] {
            TokenTree::Group(group) => find(path, group.stream(), system, violations),
            TokenTree::Ident(ident) => {
                let is_named = |client: &&&str| match client.strip_prefix('.') {
                    Some(method) => ident == method && is_method(&tokens, at),
                    None => ident == client && is_path(&tokens, at),
                };
                if system.client.iter().any(|client| is_named(&client)) {
                    let line = ident.span().start().line;
                    let rule = format!("{ident} is {}: speak to it where its bound is", system.name);
                    violations.push(Violation::new(path, line, rule));
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
        at += 1;
    }
}

/// A field or a variable of that name is none.
fn is_path(tokens: &[TokenTree], at: usize) -> bool {
    let is_type = tokens[at].to_string().starts_with(char::is_uppercase);
    is_type || colons(tokens, at + 1) || (at >= 2 && colons(tokens, at - 2))
}

fn is_method(tokens: &[TokenTree], at: usize) -> bool {
    let is_dot = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == '.');
    let is_called = matches!(tokens.get(at + 1), Some(TokenTree::Group(_)));
    at > 0 && is_dot(&tokens[at - 1]) && is_called
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        let missing = SYSTEMS.iter().map(|system| system.doors.len()).sum::<usize>();
        violations(&[source]).unwrap().len() - missing
    }

    #[test]
    fn another_way_to_a_foreign_system_is_found() {
        for text in [
            "use sqlx::PgPool;",
            "use sqlx::{Connection, PgPool};",
            "async fn f() { sqlx::postgres::PgListener::connect(url).await; }",
            "async fn f() { sqlx::PgConnection::connect_with(&options).await; }",
            "use rdkafka::ClientConfig;",
            "fn f() -> lettre::Message { g() }",
            "async fn f(database: &Database) { let conn = database.session().await; }",
        ] {
            assert_eq!(found("services/order/src/adapters/x.rs", text), 1, "{text}");
        }
    }

    #[test]
    fn doors_tests_and_stand_ins_are_left_alone() {
        for (path, text) in [
            ("tools/embedded/src/broker.rs", "use rdkafka::ClientConfig;"),
            ("services/order/tests/it/x.rs", "use sqlx::PgPool;"),
            ("services/order/src/adapters/x.rs", "#[cfg(test)] mod tests { use sqlx::PgPool; }"),
            ("services/order/src/adapters/x.rs", "fn f(reqwest: u8) -> u8 { reqwest }"),
            ("services/order/src/adapters/x.rs", "fn f(a: &A, session: u8) -> u8 { a.session + session }"),
        ] {
            assert_eq!(found(path, text), 0, "{path}: {text}");
        }
    }
}
