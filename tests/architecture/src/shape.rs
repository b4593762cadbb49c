//! The shape that all services have (docs/adr/0032): their files, their subscriptions, and who names the published events.

use std::collections::BTreeSet;

use proc_macro2::TokenStream;

use crate::Violation;
use crate::circles::scan::{Said, Use, scan};
use crate::sources::Source;

/// Files and folders of each service's `src/`, each with a text that stands in it.
const FILES: [(&str, &str); 6] = [
    ("main.rs", "service::run("),
    ("config.rs", "pub struct Config"),
    ("handlers.rs", "mod "),
    ("domain", "pub enum Refusal"),
    ("adapters/contract.rs", "use contracts::"),
    ("adapters/postgres/batch.rs", "pub struct Batch"),
];

/// Where the published events may be named.
const KNOW_EVENTS: [&str; 3] = ["main.rs", "adapters/contract.rs", "handlers/"];

/// Where the Rust types of the published events stand: a module per file.
const EVENTS: &str = "shared/contracts/src/generated/";

/// Every place where one of these services has another shape.
///
/// # Errors
/// When a file is no Rust.
pub fn violations(sources: &[Source], services: &[&str]) -> anyhow::Result<Vec<Violation>> {
    let modules = sources.iter().filter_map(|source| source.path.strip_prefix(EVENTS)?.strip_suffix(".rs"));
    let modules: BTreeSet<&str> = modules.collect();
    anyhow::ensure!(!modules.is_empty(), "there are no published events in {EVENTS}");
    let mut violations = Vec::new();
    for service in services {
        let root = format!("services/{service}/src/");
        let files: Vec<(&str, &Source)> = sources
            .iter()
            .filter_map(|source| Some((source.path.strip_prefix(root.as_str())?, source)))
            .filter(|(inside, _)| !inside.ends_with("tests.rs") && !inside.contains("tests/"))
            .collect();
        missing(&root, &files, &mut violations);
        subscriptions(&root, &files, &mut violations);
        for (inside, source) in &files {
            if !KNOW_EVENTS.iter().any(|allowed| inside.starts_with(allowed)) {
                vocabulary(source, &modules, &mut violations)?;
            }
        }
    }
    Ok(violations)
}

fn missing(root: &str, files: &[(&str, &Source)], violations: &mut Vec<Violation>) {
    for (name, text) in FILES {
        let is_there =
            |(inside, source): &(&str, &Source)| inside.starts_with(name) && source.text.contains(text);
        if !files.iter().any(is_there) {
            violations.push(Violation::new(
                &format!("{root}{name}"),
                0,
                format!("every service has here: {text}"),
            ));
        }
    }
}

/// `main.rs` subscribes each file of `handlers/` on a line of its own, and nobody else subscribes.
fn subscriptions(root: &str, files: &[(&str, &Source)], violations: &mut Vec<Violation>) {
    let mut subscribed = BTreeSet::new();
    for (inside, source) in files {
        for (line, number) in source.text.lines().map(str::trim).zip(1..) {
            if ![".on::<", ".on(", ".on_type("].iter().any(|call| line.contains(call)) {
                continue;
            }
            match subscription(line) {
                Some(name) if *inside == "main.rs" && subscribed.insert(name) => {}
                _ => violations.push(Violation::new(
                    &source.path,
                    number,
                    "a subscription is one line of main.rs, .on::<OrderPlaced>(handlers::order_placed)",
                )),
            }
        }
    }
    let handlers = files.iter().filter_map(|(inside, source)| {
        Some((inside.strip_prefix("handlers/")?.strip_suffix(".rs")?, *source))
    });
    let handlers: Vec<(&str, &Source)> = handlers.collect();
    for (name, source) in &handlers {
        if !source.text.contains(&format!("pub fn {name}(")) {
            violations.push(Violation::new(&source.path, 0, format!("it has the function {name}")));
        }
        if !subscribed.remove(*name) {
            violations.push(Violation::new(&source.path, 0, "main.rs does not subscribe it"));
        }
    }
    for name in subscribed {
        let file = format!("{root}handlers/{name}.rs");
        violations.push(Violation::new(&file, 0, "main.rs subscribes what has no file here"));
    }
}

/// `order_placed` of `.on::<OrderPlaced>(handlers::order_placed)`.
fn subscription(line: &str) -> Option<&str> {
    let line = line.strip_suffix(';').unwrap_or(line);
    let (event, name) = line.strip_prefix(".on::<")?.strip_suffix(')')?.split_once(">(handlers::")?;
    (snake_case(event) == name).then_some(name)
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for (letter, at) in name.chars().zip(0..) {
        if letter.is_uppercase() && at > 0 {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// `contracts::order::OrderPlaced`, and `AnyEvent::OrderPlaced`, in a `use` or elsewhere.
fn vocabulary(
    source: &Source,
    modules: &BTreeSet<&str>,
    violations: &mut Vec<Violation>,
) -> anyhow::Result<()> {
    let tokens: TokenStream =
        source.text.parse().map_err(|error| anyhow::anyhow!("{} is no Rust: {error}", source.path))?;
    let mut said = Said::default();
    scan(tokens, &[], &mut said);
    let mut paths: Vec<(Vec<String>, usize)> =
        said.mentions.into_iter().map(|written| (written.path, written.line)).collect();
    for Use { name, mut of, .. } in said.uses {
        of.path.extend((name == "*").then_some(name));
        paths.push((of.path, of.line));
    }
    for (path, line) in paths {
        let names_event = path.windows(2).any(|pair| match [pair[0].as_str(), pair[1].as_str()] {
            ["contracts", module] => module == "*" || modules.contains(module),
            // Its functions have names of their own; a variant is an event.
            ["AnyEvent", variant] => !variant.starts_with(|letter: char| letter.is_lowercase()),
            _ => false,
        });
        if names_event {
            let rule = format!("{} is for adapters/contract.rs, handlers/ and main.rs", path.join("::"));
            violations.push(Violation::new(&source.path, line, rule));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 8] = [
        ("shared/contracts/src/generated/order.rs", "pub struct OrderPlaced {}"),
        (
            "services/a/src/main.rs",
            "use contracts::order::OrderPlaced;\nfn main() {\n    service::run(Subscriptions::new()\n        \
             .on::<OrderPlaced>(handlers::order_placed)\n    );\n}",
        ),
        ("services/a/src/config.rs", "pub struct Config {}"),
        ("services/a/src/handlers.rs", "mod order_placed;\npub use order_placed::order_placed;"),
        (
            "services/a/src/handlers/order_placed.rs",
            "use contracts::order::OrderPlaced;\npub fn order_placed(batch: &mut Batch, event: &OrderPlaced) {}",
        ),
        ("services/a/src/domain/order.rs", "pub enum Refusal {}\npub enum Event { OrderPlaced }"),
        ("services/a/src/adapters/contract.rs", "use contracts::order::OrderPlaced;"),
        (
            "services/a/src/adapters/postgres/batch.rs",
            "use contracts::{AnyEvent, clock};\npub struct Batch {}\nfn f(e: &AnyEvent) { AnyEvent::key(e); }\n\
             #[cfg(test)]\nmod tests { use contracts::order::OrderPlaced; }",
        ),
    ];

    /// The violations of a tree that is good but for this file, `file: rule` each; without a text the file is not there.
    fn broken(path: &str, text: Option<&str>) -> Vec<String> {
        let mut tree: Vec<Source> = GOOD
            .iter()
            .filter(|(good, _)| *good != path)
            .map(|(path, text)| Source { path: (*path).to_owned(), text: (*text).to_owned() })
            .collect();
        tree.extend(text.map(|text| Source { path: path.to_owned(), text: text.to_owned() }));
        let violations = violations(&tree, &["a"]).unwrap();
        violations.iter().map(|violation| format!("{}: {}", violation.file, violation.rule)).collect()
    }

    #[test]
    fn the_shape_passes() {
        assert_eq!(broken("services/a/src/adapters/http.rs", Some("fn routes() {}")), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_is_missing_or_is_another_is_found() {
        for path in [
            "services/a/src/config.rs",
            "services/a/src/domain/order.rs",
            "services/a/src/adapters/contract.rs",
            "services/a/src/adapters/postgres/batch.rs",
        ] {
            for text in [None, Some("pub struct Other {}")] {
                let found = broken(path, text);
                assert!(found.len() == 1 && found[0].contains("every service has"), "{path}: {found:?}");
            }
        }
    }

    #[test]
    fn subscriptions_and_handlers_belong_together() {
        let main = "services/a/src/main.rs";
        for (path, text, expected) in [
            (
                "services/a/src/handlers/order_lost.rs",
                "pub fn order_lost(b: &mut Batch) {}",
                "does not subscribe",
            ),
            ("services/a/src/handlers/order_placed.rs", "pub fn placed(b: &mut Batch) {}", "the function"),
            (
                "services/a/src/adapters/consumer.rs",
                "fn f() { s.on::<OrderPlaced>(placed) }",
                "one line of main.rs",
            ),
            (
                "services/a/src/adapters/consumer.rs",
                "fn f() { s.on(|b, e: &OrderPlaced, _| Ok(())) }",
                "one line",
            ),
            (
                main,
                "fn main() { service::run(s\n.on::<OrderPlaced>(handlers::order_placed)\n.on::<OrderLost>(handlers::order_lost)\n) }",
                "has no file here",
            ),
        ] {
            let found = broken(path, Some(text));
            assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
        }
        for line in [
            ".on::<OrderPlaced>(handlers::placed)",
            ".on::<OrderPlaced>(|b, e, _| handlers::order_placed(b, e))",
            ".on::<OrderPlaced>(handlers::order_placed).on::<OrderLost>(handlers::order_lost)",
            ".on_type(OrderPlaced::TYPE, handlers::order_placed)",
        ] {
            let found = broken(main, Some(&format!("fn main() {{ service::run(s\n{line}\n) }}")));
            assert_eq!(found.len(), 2, "a line, and a handler without one: {found:?}");
        }
        let twice = ".on::<OrderPlaced>(handlers::order_placed)\n".repeat(2);
        let found = broken(main, Some(&format!("fn main() {{ service::run(s\n{twice}) }}")));
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn published_events_are_named_at_the_edge_only() {
        for text in [
            "use contracts::order::OrderPlaced;",
            "use contracts::{AnyEvent, order::OrderPlaced};",
            "use contracts::order;",
            "fn f(e: &contracts::order::OrderPlaced) {}",
            "fn f(e: &AnyEvent) { match e { AnyEvent::OrderPlaced(e) => {} _ => {} } }",
            "use contracts::AnyEvent::*;",
            "use contracts::*;",
        ] {
            for path in ["services/a/src/adapters/http.rs", "services/a/src/application/place.rs"] {
                let found = broken(path, Some(text));
                assert!(found.len() == 1 && found[0].contains("contract.rs"), "{text}: {found:?}");
            }
        }
    }
}
