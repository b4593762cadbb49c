//! All checks, each kind in a file of its own, in the stages in which they can be made: by key, by order, by SKU, and as a whole.

pub mod books;
mod dead_letters;
mod inbox;
mod outbox;
mod records;
mod sequences;
mod timelines;

use super::case::Case;
use super::check::Check;
use super::failures::Failures;
use super::report::{Comparisons, Report};
use super::services::{analytics, inventory, notification, order, payment};
use super::sums::Sums;
use super::totals::Totals;
use super::unread;

/// Checks everything at once.
pub fn check(case: &Case<'_>, failures: Failures) -> Report {
    let (mut out, mut totals) = (Comparisons::default(), Totals::default());
    keys(case, &mut out);
    orders(case, &mut totals, &mut out);
    let sums = totals.sums();
    skus(case, &sums, &mut out);
    whole(case, &sums, failures, &mut out);
    out.into_report()
}

/// Checks the records of some keys, the messages that they were, and what became of them.
pub(super) fn keys(case: &Case<'_>, out: &mut Comparisons) {
    records::check(case, out);
    sequences::check(case, out);
    timelines::check(case, out);
    outbox::keys(case, out);
    inbox::keys(case, out);
}

/// Checks the rows of some orders, and adds them up.
pub(super) fn orders(case: &Case<'_>, totals: &mut Totals, out: &mut Comparisons) {
    order::orders(case, out);
    inventory::orders(case, totals, out);
    payment::orders(case, out);
    notification::orders(case, totals, out);
    analytics::orders(case, totals, out);
    books::orders(case, totals, out);
}

/// Checks the rows of all SKUs, once all orders are added up.
pub(super) fn skus(case: &Case<'_>, sums: &Sums, out: &mut Comparisons) {
    inventory::skus(case, &sums.held, out);
    analytics::skus(case, out);
}

/// Checks what the orders add up to, where no events of SKUs are at hand.
pub(super) fn sums(case: &Case<'_>, sums: &Sums, out: &mut Comparisons) {
    inventory::units_of_orders(case, &sums.held, out);
    analytics::whole(case, &sums.counted, out);
    sums.money.whole(out);
}

/// Checks what belongs to no order and no SKU. The case need have no more records than positions and dead letters name.
pub(super) fn whole(case: &Case<'_>, sums: &Sums, failures: Failures, out: &mut Comparisons) {
    delivery(case, failures, out);
    rest(case, sums, failures, out);
}

/// Checks outboxes, positions and dead letters of the services that the case has.
pub(super) fn delivery(case: &Case<'_>, failures: Failures, out: &mut Comparisons) {
    for truncated in case.history.truncated() {
        for check in Check::ALL {
            out.not_compared(*check, truncated.clone());
        }
    }
    for why in case.history.unread.reasons() {
        for check in Check::ALL.iter().filter(|check| !unread::is_independent(**check)) {
            out.not_compared(*check, why.clone());
        }
    }
    case.busy.iter().for_each(|what| out.note(format!("under way: {what}")));
    outbox::whole(case, out);
    inbox::whole(case, out);
    dead_letters::check(case, failures, out);
}

/// Checks what the services have besides.
pub(super) fn rest(case: &Case<'_>, sums: &Sums, failures: Failures, out: &mut Comparisons) {
    sums.failed_mails.whole(failures, out);
    payment::whole(case, out);
    analytics::whole(case, &sums.counted, out);
    sums.money.whole(out);
}
