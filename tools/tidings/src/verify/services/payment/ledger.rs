//! The provider's books: what was asked of it, what it answered, and where the money is.

use contracts::order::OrderPlaced;
use uuid::Uuid;

use super::PAYMENT;
use crate::verify::case::{Case, Occurrence, first};
use crate::verify::check::Check;
use crate::verify::report::Comparisons;
use crate::verify::rows::payment::{PaymentRow, StepRow};

/// The steps of the provider, in the order in which they are asked for.
const STEPS: [&str; 5] = ["authorize", "check_fraud", "capture", "void", "refund"];

/// What the ledger of a payment at rest may hold: each step with whether it was approved.
fn ways(state: &str) -> &'static [&'static [(&'static str, bool)]] {
    const AUTHORIZED: (&str, bool) = ("authorize", true);
    const CHECKED: (&str, bool) = ("check_fraud", true);
    const CAPTURED: (&str, bool) = ("capture", true);
    const VOIDED: (&str, bool) = ("void", true);
    match state {
        "completed" => &[&[AUTHORIZED, CHECKED, CAPTURED]],
        "refunded" => &[&[AUTHORIZED, CHECKED, CAPTURED, ("refund", true)]],
        "declined" => &[
            &[("authorize", false)],
            &[AUTHORIZED, ("check_fraud", false), VOIDED],
            &[AUTHORIZED, CHECKED, ("capture", false), VOIDED],
        ],
        // A call that was under way may still arrive, and is refused then.
        "voided" => &[
            &[VOIDED],
            &[("authorize", false)],
            &[("authorize", false), VOIDED],
            &[AUTHORIZED, VOIDED],
            &[AUTHORIZED, CHECKED, VOIDED],
            &[AUTHORIZED, ("check_fraud", false), VOIDED],
            &[AUTHORIZED, CHECKED, ("capture", false), VOIDED],
        ],
        _ => &[&[]],
    }
}

/// Where the money is, by what was done.
fn account(steps: &[StepRow]) -> Option<&'static str> {
    let approved = |name: &str| steps.iter().any(|step| step.step == name && step.approved);
    match () {
        () if approved("refund") => Some("refunded"),
        () if approved("capture") => Some("captured"),
        () if approved("void") => Some("voided"),
        () if approved("authorize") => Some("authorized"),
        () if steps.iter().any(|step| step.step == "authorize") => Some("declined"),
        () => None,
    }
}

/// Compares the books of a payment at rest.
pub(super) fn check(case: &Case<'_>, row: &PaymentRow, applied: &[Occurrence<'_>], out: &mut Comparisons) {
    const CHECK: Check = Check::ProviderLedger;
    let steps = case.snapshot.payment.steps_of(row.payment_id);
    let subject = format!("payment {} of order {}", row.payment_id, row.order_id);
    let mut done: Vec<(&str, bool)> = steps.iter().map(|step| (step.step.as_str(), step.approved)).collect();
    done.sort_by_key(|(name, _)| STEPS.iter().position(|step| step == name));
    out.holds(CHECK, ways(&row.state).contains(&done.as_slice()), || {
        format!("{subject} is {}, and the provider's steps are {done:?}", row.state)
    });
    let placed = first::<OrderPlaced>(applied).map(|(placed, _)| placed);
    let mut since = placed.map(|placed| placed.occurred_at).unwrap_or(row.updated_at);
    for step in steps {
        let subject = format!("{} of {subject}", step.step);
        if let Some(placed) = placed {
            out.same(CHECK, &subject, "amount_minor", &step.amount_minor, &placed.total_minor);
            out.same(CHECK, &subject, "currency", &step.currency, &placed.currency);
        }
        let is_its_own = step.transaction_id.starts_with(&format!("{}_", step.step))
            && step.transaction_id.rsplit('_').next().is_some_and(|id| Uuid::parse_str(id).is_ok());
        out.holds(CHECK, is_its_own, || format!("{subject}: its transaction is {}", step.transaction_id));
        if row.state == "declined" && !step.approved {
            out.same(CHECK, &subject, "reason", &step.reason, &row.decline_reason);
        }
        case.plausible(
            out,
            CHECK,
            &subject,
            "recorded_at",
            step.recorded_at,
            (since, case.taken_at(PAYMENT)),
        );
        since = since.max(step.recorded_at);
    }
    let found = case.snapshot.payment.accounts.get(&row.payment_id).map(String::as_str);
    out.same(Check::ProviderAccounts, &subject, "the provider's account", &found, &account(steps));
}
