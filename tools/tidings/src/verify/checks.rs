//! All checks, each kind in a file of its own.

mod books;
mod dead_letters;
mod inbox;
mod outbox;
mod records;
mod sequences;
pub(super) mod stories;

use super::case::Case;
use super::check::Check;
use super::report::{Comparisons, Findings, Report};
use super::services::{analytics, inventory, notification, order, payment};

/// Whether dead letters are tolerated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetters {
    /// They are listed.
    Listed,
    /// They violate G5: nothing was expected to be dead-lettered.
    Unexpected,
}

/// Checks everything.
#[must_use]
pub fn check(case: &Case<'_>, dead_letters: DeadLetters) -> Report {
    let mut out = Comparisons::default();
    for truncated in case.history.truncated() {
        for check in Check::ALL {
            out.not_compared(*check, truncated.clone());
        }
    }
    records::check(case, &mut out);
    sequences::check(case, &mut out);
    stories::check(case, &mut out);
    outbox::check(case, &mut out);
    inbox::check(case, &mut out);
    dead_letters::check(case, dead_letters, &mut out);
    order::check(case, &mut out);
    inventory::check(case, &mut out);
    payment::check(case, &mut out);
    notification::check(case, &mut out);
    analytics::check(case, &mut out);
    books::check(case, &mut out);
    let mut notes = Findings::default();
    case.busy.iter().for_each(|what| notes.add(format!("under way: {what}")));
    case.history.records.iter().filter_map(records::describe).for_each(|what| notes.add(what));
    for (service, delivery) in &case.snapshot.delivery {
        for row in &delivery.letters {
            let key = row.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            notes.add(format!(
                "{service} has a dead letter of {}/{}@{} (event {}, key {key}): {}",
                row.topic, row.partition, row.offset, row.event_id, row.reason
            ));
        }
    }
    out.into_report(notes)
}
