//! Names that were given up: those of before 0.2.0 (docs/adr/0021), and terms for which the field has another one.

use std::path::Path;

use anyhow::Context;
use proc_macro2::{TokenStream, TokenTree};

use crate::Violation;

/// Names of before, each the whole word: tables, columns, states, reasons, metrics, alerts, settings, options.
const BEFORE: [&str; 68] = [
    "parked",
    "parked_keys",
    "parked_at",
    "stopped_keys",
    "rebuild_left_out",
    "published_sequence",
    "changed_at",
    "session_timeout_ms",
    "only_row",
    "addressee",
    "delivered_to",
    "confirmed_unseen",
    "cancelled_unseen",
    "up_to_ms",
    "stock_held",
    "step_call",
    "behind_parked",
    "data_refused",
    "no_reaction",
    "older_than_inbox",
    "event_id_in_future",
    "consequence_too_large",
    "consequence_not_encodable",
    "books_out_of_balance",
    "inbox_parked_events",
    "inbox_events_total",
    "inbox_batch_events",
    "inbox_position_alarms_total",
    "outbox_keys_stopped_total",
    "outbox_stopped_keys",
    "outbox_relay_active",
    "outbox_unfinished_rows",
    "outbox_oldest_unfinished_age_seconds",
    "outbox_published_total",
    "outbox_pruned_rows_total",
    "http_requests_turned_away_total",
    "log_lines_held_back_total",
    "sampled_timestamp_seconds",
    "EventsParked",
    "KeyStopped",
    "PartitionStopped",
    "LagGrowing",
    "OutboxRowTooOld",
    "GaugesNotRead",
    "retry_initial_ms",
    "retry_max_ms",
    "backoff_first_ms",
    "buffer_rows",
    "retention_s",
    "prune_interval_ms",
    "remember_days",
    "fetch_wait_ms",
    "traces_ratio",
    "otlp_queue",
    "deadline_poll_ms",
    "watch_poll_ms",
    "deadline_batch",
    "max_waits",
    "slow_answer_ms",
    "too_late_answer_ms",
    "call_timeout_ms",
    "allow_parked",
    "set_apart",
    "TIDINGS_VERSION",
    "TIDINGS_LOG",
    "TIDINGS_LOG_FORMAT",
    "TIDINGS_KAFKA__BROKERS",
    "TIDINGS_REGISTRY__REGISTER",
];

/// Words that no identifier of Rust contains, each with the field's term.
const HOME_MADE: [(&str, &str); 34] = [
    ("addressee", "recipient"),
    ("ambient", "clock"),
    ("breath", "interval"),
    ("chains", "key queues, links"),
    ("company", "batch"),
    ("crowded", "limit"),
    ("fulfilment", "unit of work"),
    ("happening", "event"),
    ("happenings", "events"),
    ("lane", "topic publisher"),
    ("lanes", "topic publishers"),
    ("mend", "fix"),
    ("notices", "notifications"),
    ("office", "leader"),
    ("parked", "dead letter"),
    ("parking", "dead letter"),
    ("patience", "timeout"),
    ("patiently", "retry until"),
    ("presence", "membership"),
    ("reaction", "handler"),
    ("reactions", "handlers"),
    ("seal", "encode"),
    ("sealed", "encoded"),
    ("shelf", "stock level"),
    ("shelves", "stock levels"),
    ("stories", "traces, timelines"),
    ("story", "trace, timeline"),
    ("suspect", "isolated"),
    ("suspects", "isolated"),
    ("sweep", "full scan"),
    ("tenure", "partition assignment"),
    ("tombstone", "cancelled before placed"),
    ("trial", "isolated"),
    ("worlds", "transient"),
];

/// What speaks of the past, and this list.
const LEFT_OUT: [&str; 5] =
    ["docs/adr", "CHANGELOG.md", "tests/architecture/src/names.rs", "target", "node_modules"];

/// Every place in the text files below `root` that has a name of before.
///
/// # Errors
/// When a folder can't be read.
pub fn violations(root: &Path) -> anyhow::Result<Vec<Violation>> {
    let mut violations = Vec::new();
    walk(root, root, &mut violations)?;
    violations.sort();
    Ok(violations)
}

fn walk(root: &Path, folder: &Path, violations: &mut Vec<Violation>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let relative = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
        if name == ".git" || LEFT_OUT.contains(&relative.as_str()) || name == "target" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            walk(root, &path, violations)?;
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            violations.extend(in_text(&relative, &text));
            violations.extend(unmerged(&relative, &text));
            if path.extension().is_some_and(|extension| extension == "rs") {
                let tokens: TokenStream =
                    text.parse().map_err(|error| anyhow::anyhow!("{relative}: {error}"))?;
                in_identifiers(&relative, tokens, violations);
            }
        }
    }
    Ok(())
}

fn in_text(path: &str, text: &str) -> Vec<Violation> {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let lines = text.lines().zip(1..);
    lines
        .flat_map(|(line, number)| {
            let words = line.split(move |letter| !is_word(letter)).filter(|word| BEFORE.contains(word));
            words.map(move |word| {
                Violation::new(path, number, format!("{word} has another name (docs/adr/0021)"))
            })
        })
        .collect()
}

/// What git leaves where it could not merge two changes.
fn unmerged(path: &str, text: &str) -> Vec<Violation> {
    let markers = ["<", ">"].map(|sign| sign.repeat(7) + " ");
    let lines = text.lines().zip(1..);
    let found = lines.filter(|(line, _)| markers.iter().any(|marker| line.starts_with(marker.as_str())));
    found.map(|(_, number)| Violation::new(path, number, "a conflict of a merge is not resolved")).collect()
}

fn in_identifiers(path: &str, tokens: TokenStream, violations: &mut Vec<Violation>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => in_identifiers(path, group.stream(), violations),
            TokenTree::Ident(ident) => {
                let name = ident.to_string();
                let found =
                    words(&name).into_iter().find_map(|word| HOME_MADE.iter().find(|it| it.0 == word));
                if let Some((word, term)) = found {
                    let rule = format!("{name}: the field's term for \"{word}\" is \"{term}\"");
                    violations.push(Violation::new(path, ident.span().start().line, rule));
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// The words of an identifier in snake case or camel case, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lower = false;
    for letter in name.chars() {
        if letter == '_' || (letter.is_uppercase() && after_lower) {
            words.push(String::new());
        }
        if letter != '_' {
            words.last_mut().into_iter().for_each(|word| word.extend(letter.to_lowercase()));
        }
        after_lower = letter.is_lowercase();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unresolved_conflict_is_found() {
        let text = format!("a\n{} HEAD\nb\n=======\nc\n{} other\n", "<".repeat(7), ">".repeat(7));
        assert_eq!(unmerged("a.md", &text).iter().map(|it| it.line).collect::<Vec<_>>(), [2, 6]);
    }

    #[test]
    fn home_made_terms_are_found_in_identifiers_only() {
        let source =
            "// A story.\nfn the_story() {\n    SealedEvent::new(\"a story\", history, chained)\n}\n";
        let mut found = Vec::new();
        in_identifiers("a.rs", source.parse().unwrap(), &mut found);
        assert_eq!(found.iter().map(|violation| violation.line).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn whole_words_are_found_and_parts_of_others_are_not() {
        let found = in_text("a.sql", "-- parked_keys\nSELECT unparked FROM inbox.parked;\n");
        assert_eq!(found.iter().map(|violation| violation.line).collect::<Vec<_>>(), [1, 2]);
    }
}
