//! No transaction is reachable from a connection's future, which a client that hangs up drops: handlers run in tasks of their own, and
//! what does not, opens no transaction. That is a response that is streamed, a probe, and a handler that has given its place back.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::Violation;
use crate::sources::{Source, without_tests};

/// What opens a transaction (`shared/database`).
const OPENS: &str = "transaction";
/// Names by which a file builds a response that goes on after its handler.
const STREAMS: [&str; 5] = ["Sse", "StreamBody", "WebSocketUpgrade", "from_stream", "on_upgrade"];
/// Files whose handlers run in the connection's future.
const PROBES: [&str; 3] =
    ["shared/service/src/health.rs", "shared/service/src/http/edge.rs", "shared/service/src/http/index.rs"];
/// The only file that serves connections, the one that makes their routes, and the one that serves these.
const SERVER: &str = "shared/service/src/http/server.rs";
const EDGE: &str = "shared/service/src/http/edge.rs";
const OPERATE: &str = "shared/service/src/runtime/operate.rs";
/// Names by which another server would be found.
const SERVERS: [&str; 3] = ["serve_connection", "hyper", "serve_with_incoming"];

/// A function, with its body as a flat list of words.
struct Function {
    name: String,
    words: Vec<(String, usize)>,
}

/// Everything that a request could drop in the middle of a transaction.
///
/// # Errors
/// When a file is no Rust.
pub fn violations(sources: &[Source]) -> anyhow::Result<Vec<Violation>> {
    let is_ours = |source: &&Source| {
        let is_tested = source.path.contains("/tests/") || source.path.ends_with("/tests.rs");
        (source.path.starts_with("services/") || source.path.starts_with("shared/")) && !is_tested
    };
    let mut violations = Vec::new();
    for source in sources.iter().filter(is_ours) {
        let functions = functions(source)?;
        if !(is_http(&source.path) || PROBES.contains(&source.path.as_str())) {
            continue;
        }
        let beside = sources.iter().filter(is_ours).filter(|other| is_beside(source, other));
        let openers = openers(&functions, beside)?;
        let is_streamed =
            functions.iter().any(|it| it.words.iter().any(|(word, _)| STREAMS.contains(&word.as_str())));
        let is_probe = PROBES.contains(&source.path.as_str());
        for function in &functions {
            let from = match function.words.iter().position(|(word, _)| word == "release") {
                _ if is_streamed || is_probe => 0,
                Some(released) => released,
                None => continue,
            };
            for (name, line) in calls(&function.words[from..]).filter(|(name, _)| openers.contains(*name)) {
                let rule = format!(
                    "{}: {name} opens a transaction in the future of a connection, which may be dropped",
                    function.name
                );
                violations.push(Violation::new(&source.path, line, rule));
            }
        }
    }
    violations.extend(layers(sources)?);
    Ok(violations)
}

fn is_http(path: &str) -> bool {
    path.contains("/adapters/http") || path.starts_with("shared/service/src/http")
}

/// Of the same crate, or of one whose functions handlers call.
fn is_beside(source: &Source, other: &Source) -> bool {
    let folder = |path: &str| path.split('/').take(2).collect::<Vec<_>>().join("/");
    folder(&source.path) == folder(&other.path) || other.path.starts_with("shared/inbox/src/")
}

/// Whether a function opens a transaction itself.
fn opens(function: &Function) -> bool {
    let opening = [".", OPENS, "("];
    function.words.windows(3).any(|words| words.iter().map(|(word, _)| word.as_str()).eq(opening))
}

/// The names of functions that open a transaction: themselves, in this crate or inbox; or through others of the same file. Names are
/// not resolved, so further ways through other files would find what is none.
fn openers<'s>(
    functions: &[Function],
    beside: impl Iterator<Item = &'s Source>,
) -> anyhow::Result<BTreeSet<String>> {
    let mut openers = BTreeSet::from([OPENS.to_owned()]);
    for source in beside {
        openers.extend(self::functions(source)?.into_iter().filter(opens).map(|function| function.name));
    }
    loop {
        let known = openers.len();
        for function in functions {
            if calls(&function.words).any(|(name, _)| openers.contains(name)) {
                openers.insert(function.name.clone());
            }
        }
        if openers.len() == known {
            return Ok(openers);
        }
    }
}

/// Every service's routes go through the edge, which runs their handlers in tasks of their own, and nothing else serves connections.
fn layers(sources: &[Source]) -> anyhow::Result<Vec<Violation>> {
    let mut violations = Vec::new();
    for source in sources {
        let is_service = source.path.starts_with("services/") || source.path.starts_with("shared/service/");
        if !is_service || source.path.contains("/tests/") {
            continue;
        }
        let mut words = Vec::new();
        flatten(tokens(source)?, &mut words);
        let has = |sequence: &str| {
            let sequence: Vec<&str> = sequence.split(' ').collect();
            words
                .windows(sequence.len())
                .any(|window| window.iter().map(|(word, _)| word).eq(sequence.iter()))
        };
        let is_server =
            words.iter().any(|(word, _)| SERVERS.contains(&word.as_str())) || has("axum : : serve");
        let rule = match source.path.as_str() {
            SERVER => continue,
            _ if is_server => "connections are served by shared/service alone, which has the edge",
            EDGE if !has("let business = routes . layer") || !outlives(&words) => {
                "the routes of a service have no layer `outlive`: their handlers end with the connection"
            }
            OPERATE if !has("let app = edge (") => "what is served is not the edge",
            _ => continue,
        };
        violations.push(Violation::new(&source.path, 0, rule));
    }
    Ok(violations)
}

/// Whether the layer stands in the statement that makes the business routes.
fn outlives(words: &[(String, usize)]) -> bool {
    let from = words.iter().position(|(word, _)| word == "business").unwrap_or_default();
    let statement = words[from..].iter().take_while(|(word, _)| word != ";");
    statement.filter(|(word, _)| word == "outlive").count() == 1
}

/// Names before parentheses.
fn calls(words: &[(String, usize)]) -> impl Iterator<Item = (&str, usize)> {
    words.windows(2).filter(|pair| pair[1].0 == "(").map(|pair| (pair[0].0.as_str(), pair[0].1))
}

fn tokens(source: &Source) -> anyhow::Result<TokenStream> {
    source.text.parse().map_err(|error| anyhow::anyhow!("{} is no Rust: {error}", source.path))
}

fn functions(source: &Source) -> anyhow::Result<Vec<Function>> {
    let mut functions = Vec::new();
    find(tokens(source)?, &mut functions);
    Ok(functions)
}

fn find(tokens: TokenStream, functions: &mut Vec<Function>) {
    let tokens = without_tests(tokens);
    for at in 0..tokens.len() {
        if let (true, Some(TokenTree::Ident(name))) = (tokens[at].to_string() == "fn", tokens.get(at + 1)) {
            let is_body = |token: &&TokenTree| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
            let mut words = Vec::new();
            if let Some(TokenTree::Group(body)) = tokens[at..].iter().find(is_body) {
                flatten(body.stream(), &mut words);
            }
            functions.push(Function { name: name.to_string(), words });
        }
        if let TokenTree::Group(group) = &tokens[at] {
            find(group.stream(), functions);
        }
    }
}

fn flatten(tokens: TokenStream, words: &mut Vec<(String, usize)>) {
    for token in tokens {
        let line = token.span().start().line;
        match token {
            TokenTree::Group(group) => {
                let open = if group.delimiter() == Delimiter::Parenthesis { "(" } else { "{" };
                words.push((open.to_owned(), line));
                flatten(group.stream(), words);
                words.push((")".to_owned(), line));
            }
            TokenTree::Ident(ident) => words.push((ident.to_string(), line)),
            TokenTree::Punct(punct) => words.push((punct.as_char().to_string(), line)),
            TokenTree::Literal(_) => words.push((String::new(), line)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: &str =
        "impl Store { async fn place(&self) { self.database.transaction(Operation::Request, f).await } }";

    fn found(path: &str, text: &str) -> Vec<Violation> {
        let source = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
        violations(&[source("services/order/src/adapters/postgres.rs", STORE), source(path, text)]).unwrap()
    }

    #[test]
    fn a_transaction_in_a_connections_future_is_found() {
        for text in [
            "fn f(api: Api) { Sse::new(unfold(api, async |api| api.store.transaction(f).await)) }",
            "fn f(api: Api) { Sse::new(unfold(api, next)) } async fn next(api: Api) { api.store.place().await }",
            "async fn f(api: Api) { in_flight.release(); api.store.place().await }",
            "async fn f(api: Api) { in_flight.release(); wait(&api).await } async fn wait(api: &Api) { api.store.place().await }",
        ] {
            assert!(!found("services/order/src/adapters/http/routes.rs", text).is_empty(), "{text}");
        }
        let probe = "async fn ready(database: Database) { database.transaction(f).await }";
        assert!(!found("shared/service/src/health.rs", probe).is_empty());
    }

    #[test]
    fn what_a_handler_does_before_and_single_statements_are_left_alone() {
        for text in [
            "async fn f(api: Api) { api.store.place().await; in_flight.release(); api.store.view().await }",
            "async fn f(api: Api) { api.store.transaction(f).await }",
            "fn f(api: Api) { Sse::new(unfold(api, async |api| api.store.history().await)) }",
        ] {
            let found = found("services/order/src/adapters/http/routes.rs", text);
            assert!(found.is_empty(), "{text}: {found:?}");
        }
    }

    #[test]
    fn routes_that_bypass_the_layer_are_found() {
        let edge =
            "fn edge(routes: Router) { let business = routes.layer(from_fn_with_state(tasks, outlive)); }";
        assert!(found(EDGE, edge).is_empty());
        assert_eq!(found(EDGE, &edge.replace("outlive", "limit")).len(), 1);
        assert_eq!(found(EDGE, &edge.replace("= routes", "= other")).len(), 1);
        assert_eq!(found(OPERATE, "fn f() { let app = routes; serve(app) }").len(), 1);
        assert_eq!(
            found("services/order/src/main.rs", "fn f() { axum::serve(listener, routes).await }").len(),
            1
        );
    }
}
