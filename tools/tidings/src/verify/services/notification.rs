//! notification's tables: what it knows of each order, and the mails.

mod wording;

use contracts::order::{OrderCancelled, OrderConfirmed, OrderPlaced, Recipient};
use contracts::payment::PaymentRefunded;

use super::reason_name;
use crate::services::ServiceName;
use crate::verify::case::{Case, Occurrence, first};
use crate::verify::check::Check;
use crate::verify::history::{Record, trace_id};
use crate::verify::report::Comparisons;
use crate::verify::rows::notification::{MailRow, OrderRow};
use crate::verify::sums::FailedMails;
use crate::verify::totals::Totals;
use wording::Words;

const NOTIFICATION: ServiceName = ServiceName::Notification;

/// Compares notification's tables with what it has applied.
pub(in crate::verify) fn orders(case: &Case<'_>, totals: &mut Totals, out: &mut Comparisons) {
    let rows = &case.snapshot.notification;
    for order_id in case.orders.keys() {
        let is_known = !case.applied(NOTIFICATION, *order_id).is_empty();
        out.holds(Check::NotifiedOrders, !is_known || rows.orders.contains_key(order_id), || {
            format!("order {order_id}: notification has applied an event of it and has no row")
        });
    }
    for (order_id, row) in &rows.orders {
        let applied = case.applied(NOTIFICATION, *order_id);
        let facts = Facts::of(&applied);
        notified(case, row, &facts, out);
        let found = rows.mails.get(order_id).map_or(&[][..], Vec::as_slice);
        let kinds: Vec<&str> = found.iter().map(|mail| mail.kind.as_str()).collect();
        let mut owed: Vec<&str> = facts.owed();
        owed.sort_unstable();
        out.same(Check::Mails, &format!("order {order_id}"), "its mails", &kinds, &owed);
        for mail in found {
            written(case, mail, &facts, rows.domain.as_deref(), out);
            sent(mail, &mut totals.of(case, *order_id).failed_mails, out);
        }
    }
    for order_id in rows.mails.keys().filter(|id| !rows.orders.contains_key(id)) {
        out.violated(Check::Mails, format!("order {order_id} has mails and no row"));
    }
}

/// What notification has learned of an order.
struct Facts<'a> {
    placed: Option<(&'a OrderPlaced, &'a Record)>,
    confirmed: Option<(&'a OrderConfirmed, &'a Record)>,
    cancelled: Option<(&'a OrderCancelled, &'a Record)>,
    refunded: Option<(&'a PaymentRefunded, &'a Record)>,
}

impl<'a> Facts<'a> {
    fn of(applied: &[Occurrence<'a>]) -> Self {
        Self {
            placed: first(applied),
            confirmed: first(applied),
            cancelled: first(applied),
            refunded: first(applied),
        }
    }

    fn recipient(&self) -> Option<(&'a OrderPlaced, &'a Recipient)> {
        let (placed, _) = self.placed?;
        Some((placed, placed.recipient.as_ref()?))
    }

    fn owed(&self) -> Vec<&'static str> {
        let mut owed = Vec::new();
        if self.recipient().is_some() {
            owed.push("order_received");
            owed.extend(self.confirmed.map(|_| "order_confirmed"));
            owed.extend(self.cancelled.map(|_| "order_cancelled"));
            owed.extend(self.refunded.map(|_| "payment_refunded"));
        }
        owed
    }

    /// The records that a mail can have come of: the last of them to be applied has written it.
    fn traces(&self) -> impl Iterator<Item = (Option<&'a str>, Option<&'a str>)> {
        let records = [
            self.placed.map(|(_, record)| record),
            self.confirmed.map(|(_, record)| record),
            self.cancelled.map(|(_, record)| record),
            self.refunded.map(|(_, record)| record),
        ];
        records.into_iter().flatten().map(|record| (record.trace_id(), record.header("tracestate")))
    }
}

fn notified(case: &Case<'_>, row: &OrderRow, facts: &Facts<'_>, out: &mut Comparisons) {
    const CHECK: Check = Check::NotifiedOrders;
    let subject = format!("notification's order {}", row.order_id);
    let placed = facts.placed.map(|(placed, _)| placed);
    let status = match placed {
        None => "unknown",
        Some(placed) if placed.recipient.is_some() => "present",
        Some(_) => "absent",
    };
    out.same(CHECK, &subject, "recipient_status", &row.recipient_status.as_str(), &status);
    out.same(CHECK, &subject, "total_minor", &row.total_minor, &placed.map(|placed| placed.total_minor));
    out.same(CHECK, &subject, "currency", &row.currency.as_ref(), &placed.map(|placed| &placed.currency));
    let end = facts.confirmed.map(|_| "confirmed").or(facts.cancelled.map(|_| "cancelled"));
    out.same(CHECK, &subject, "status", &row.status.as_deref(), &end);
    let reason = facts.cancelled.map(|(cancelled, _)| reason_name(cancelled.reason));
    out.same(CHECK, &subject, "cancellation_reason", &row.cancellation_reason.as_deref(), &reason);
    let refunded = facts.refunded.map(|(refunded, _)| refunded);
    out.same(
        CHECK,
        &subject,
        "refunded_minor",
        &row.refunded_minor,
        &refunded.map(|event| event.amount_minor),
    );
    let currency = refunded.map(|event| &event.currency);
    out.same(CHECK, &subject, "refund_currency", &row.refund_currency.as_ref(), &currency);
    let since = placed.map_or(row.updated_at, |placed| placed.occurred_at);
    case.plausible(out, CHECK, &subject, "updated_at", row.updated_at, (since, case.taken_at(NOTIFICATION)));
}

fn written(case: &Case<'_>, mail: &MailRow, facts: &Facts<'_>, domain: Option<&str>, out: &mut Comparisons) {
    const CHECK: Check = Check::Mails;
    let subject = format!("the mail {} of order {}", mail.kind, mail.order_id);
    let Some((placed, recipient)) = facts.recipient() else { return };
    out.same_hidden(CHECK, &subject, "recipient_name", &mail.recipient_name, &recipient.name);
    out.same_hidden(CHECK, &subject, "recipient_email", &mail.recipient_email, &recipient.email);
    let message_id = format!("<{}.{}@{}>", mail.order_id, mail.kind, domain.unwrap_or_default());
    out.same(CHECK, &subject, "message_id", &mail.message_id, &message_id);
    let reason = facts.cancelled.map(|(cancelled, _)| cancelled.reason);
    let refund = facts.refunded.map(|(refunded, _)| refunded);
    let words = Words { order_id: mail.order_id, placed, recipient, reason, refund };
    if let Some(expected) = words.of(&mail.kind) {
        out.same(CHECK, &subject, "subject", &mail.subject, &expected.subject);
        out.same_hidden(CHECK, &subject, "body_text", &mail.body_text, &expected.text);
        out.same_hidden(CHECK, &subject, "body_html", &wording::words(&mail.body_html), &expected.html_words);
    }
    let trace = (trace_id(mail.traceparent.as_deref()), mail.tracestate.as_deref());
    let is_known = facts.traces().any(|known| known == trace);
    out.holds(CHECK, is_known, || format!("{subject}: it belongs to another trace than its order"));
    let taken_at = case.taken_at(NOTIFICATION);
    case.plausible(out, CHECK, &subject, "created_at", mail.created_at, (placed.occurred_at, taken_at));
    if let Some(at) = mail.completed_at {
        case.plausible(out, CHECK, &subject, "completed_at", at, (mail.created_at, taken_at));
    }
}

fn sent(mail: &MailRow, failed: &mut FailedMails, out: &mut Comparisons) {
    const CHECK: Check = Check::MailsSent;
    let subject = format!("the mail {} of order {}", mail.kind, mail.order_id);
    let error = mail.last_error.as_deref().unwrap_or("not tried yet");
    match mail.state.as_str() {
        "sent" => {
            out.holds(CHECK, mail.attempts > 0 && mail.lease_id.is_none(), || {
                format!("{subject} is sent, and has no attempt")
            });
        }
        "pending" => out.not_compared(CHECK, format!("{subject} is not sent yet ({error})")),
        state => {
            out.holds(
                CHECK,
                mail.attempts > 0 && mail.lease_id.is_none() && mail.last_error.is_some(),
                || format!("{subject} has {state}, and has no attempt"),
            );
            failed.0.add(format!("{subject} has {state}: {error}"));
        }
    }
}
