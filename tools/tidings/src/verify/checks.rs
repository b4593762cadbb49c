//! All checks, each kind in a file of its own, in the stages in which they can be made: by key, by order, by SKU, and as a whole.

mod books;
mod dead_letters;
mod inbox;
mod outbox;
mod records;
mod sequences;
pub(super) mod stories;

use super::case::Case;
use super::check::Check;
use super::report::{Comparisons, Report};
use super::services::{analytics, inventory, notification, order, payment};

/// Whether dead letters are tolerated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetters {
    /// They are listed.
    Listed,
    /// They violate G5: nothing was expected to be dead-lettered.
    Unexpected,
}

/// What orders add up to.
#[derive(Debug, Default)]
pub struct Totals {
    held: inventory::Held,
    counted: analytics::Totals,
    money: books::Sums,
}

/// Checks everything at once.
#[must_use]
pub fn check(case: &Case<'_>, dead_letters: DeadLetters) -> Report {
    let (mut out, mut totals) = (Comparisons::default(), Totals::default());
    keys(case, &mut out);
    orders(case, &mut totals, &mut out);
    skus(case, &totals, &mut out);
    whole(case, &totals, dead_letters, &mut out);
    out.into_report()
}

/// Checks the records of some keys, the messages that they were, and what became of them.
pub(super) fn keys(case: &Case<'_>, out: &mut Comparisons) {
    records::check(case, out);
    sequences::check(case, out);
    stories::check(case, out);
    outbox::keys(case, out);
    inbox::keys(case, out);
}

/// Checks the rows of some orders, and adds them up.
pub(super) fn orders(case: &Case<'_>, totals: &mut Totals, out: &mut Comparisons) {
    order::orders(case, out);
    inventory::orders(case, &mut totals.held, out);
    payment::orders(case, out);
    notification::orders(case, out);
    analytics::orders(case, &mut totals.counted, out);
    books::orders(case, &mut totals.money, out);
}

/// Checks the rows of all SKUs, once all orders are added up.
pub(super) fn skus(case: &Case<'_>, totals: &Totals, out: &mut Comparisons) {
    inventory::skus(case, &totals.held, out);
    analytics::skus(case, out);
}

/// Checks what belongs to no order and no SKU. The case need have no more records than positions and dead letters name.
pub(super) fn whole(case: &Case<'_>, totals: &Totals, dead_letters: DeadLetters, out: &mut Comparisons) {
    for truncated in case.history.truncated() {
        for check in Check::ALL {
            out.not_compared(*check, truncated.clone());
        }
    }
    case.busy.iter().for_each(|what| out.note(format!("under way: {what}")));
    outbox::whole(case, out);
    inbox::whole(case, out);
    dead_letters::check(case, dead_letters, out);
    payment::whole(case, out);
    analytics::whole(case, &totals.counted, out);
    totals.money.whole(out);
}
