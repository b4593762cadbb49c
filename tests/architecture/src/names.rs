//! Names that were given up before 0.2.0 (docs/adr/0021): one thing has one name, in every layer.

use std::path::Path;

use anyhow::Context;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_are_found_and_parts_of_others_are_not() {
        let found = in_text("a.sql", "-- parked_keys\nSELECT unparked FROM inbox.parked;\n");
        assert_eq!(found.iter().map(|violation| violation.line).collect::<Vec<_>>(), [1, 2]);
    }
}
