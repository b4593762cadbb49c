//! The tree of a trace as text, and that of each end of an order.

use std::collections::BTreeMap;

use testkit::otlp::ReceivedSpan;

pub(super) const CONFIRMED: &str = "\
order: POST /orders
  order: transaction: place order
    order: publish orders OrderPlaced
      analytics: process orders OrderPlaced
      inventory: process orders OrderPlaced
        inventory: publish reservations StockReserved
          analytics: process reservations StockReserved
          order: process reservations StockReserved
          payment: process reservations StockReserved
            payment: authorize
            payment: capture
            payment: check_fraud
            payment: publish payments PaymentCompleted
              analytics: process payments PaymentCompleted
              order: process payments PaymentCompleted
                order: publish orders OrderConfirmed
                  analytics: process orders OrderConfirmed
                  inventory: process orders OrderConfirmed
                  notification: process orders OrderConfirmed
                    notification: deliver mail
      notification: process orders OrderPlaced
        notification: deliver mail
      payment: process orders OrderPlaced
";

pub(super) const REJECTED: &str = "\
order: POST /orders
  order: transaction: place order
    order: publish orders OrderPlaced
      analytics: process orders OrderPlaced
      inventory: process orders OrderPlaced
        inventory: publish reservations StockRejected
          order: process reservations StockRejected
            order: publish orders OrderCancelled
              analytics: process orders OrderCancelled
              inventory: process orders OrderCancelled
              notification: process orders OrderCancelled
                notification: deliver mail
              payment: process orders OrderCancelled
      notification: process orders OrderPlaced
        notification: deliver mail
      payment: process orders OrderPlaced
";

pub(super) const DECLINED: &str = "\
order: POST /orders
  order: transaction: place order
    order: publish orders OrderPlaced
      analytics: process orders OrderPlaced
      inventory: process orders OrderPlaced
        inventory: publish reservations StockReserved
          analytics: process reservations StockReserved
          order: process reservations StockReserved
          payment: process reservations StockReserved
            payment: authorize
            payment: publish payments PaymentDeclined
              order: process payments PaymentDeclined
                order: publish orders OrderCancelled
                  analytics: process orders OrderCancelled
                  inventory: process orders OrderCancelled
                    inventory: publish reservations StockReleased
                  notification: process orders OrderCancelled
                    notification: deliver mail
                  payment: process orders OrderCancelled
      notification: process orders OrderPlaced
        notification: deliver mail
      payment: process orders OrderPlaced
";

pub(super) const CANCELLED: &str = "\
order: POST /orders
  order: transaction: place order
    order: publish orders OrderPlaced
      analytics: process orders OrderPlaced
      inventory: process orders OrderPlaced
        inventory: publish reservations StockReserved
          analytics: process reservations StockReserved
          order: process reservations StockReserved
          payment: process reservations StockReserved
            payment: authorize
      notification: process orders OrderPlaced
        notification: deliver mail
      payment: process orders OrderPlaced
    order: transaction: cancel order
      order: publish orders OrderCancelled
        analytics: process orders OrderCancelled
        inventory: process orders OrderCancelled
          inventory: publish reservations StockReleased
        notification: process orders OrderCancelled
          notification: deliver mail
        payment: process orders OrderCancelled
          payment: void
";

/// The same where payment consumed the reservation before the order: what both together set off
/// stands below the later one.
fn placement_heard_late(tree: &str) -> String {
    const EARLY: &str = "          payment: process reservations StockReserved\n";
    const LATE: &str = "      payment: process orders OrderPlaced\n";
    let (before, rest) = tree.split_once(EARLY).unwrap_or((tree, ""));
    let deeper = |line: &&str| line.starts_with("            ");
    let below: Vec<&str> = rest.split_inclusive('\n').take_while(deeper).collect();
    let after: String = rest.split_inclusive('\n').skip(below.len()).collect();
    let moved: String = below.iter().map(|line| &line[4..]).collect();
    format!("{before}{EARLY}{}", after.replace(LATE, &format!("{LATE}{moved}")))
}

/// Whether this is the expected tree, or the one in which payment consumed the order last.
pub(super) fn is_tree(found: &str, expected: &str) -> bool {
    found == expected || found == placement_heard_late(expected)
}

/// The tree of a trace: one line a span, children by name below their parent. A span whose parent is missing is an
/// error of its own; what was delivered twice is left out.
pub(super) fn tree(spans: &[ReceivedSpan]) -> String {
    let mut children: BTreeMap<Option<&str>, Vec<&ReceivedSpan>> = BTreeMap::new();
    for span in spans {
        let known = |id: &&str| spans.iter().any(|other| other.span_id == *id);
        let parent = span.parent_span_id.as_deref();
        let orphaned = parent.is_some_and(|id| !known(&id));
        children.entry(if orphaned { Some("orphan") } else { parent }).or_default().push(span);
    }
    let mut text = String::new();
    write_below(&children, None, 0, &mut text);
    write_below(&children, Some("orphan"), 0, &mut text);
    text
}

fn write_below(
    children: &BTreeMap<Option<&str>, Vec<&ReceivedSpan>>,
    parent: Option<&str>,
    depth: usize,
    text: &mut String,
) {
    let mut below: Vec<(String, &ReceivedSpan)> = children
        .get(&parent)
        .into_iter()
        .flatten()
        .filter(|span| span.attributes.get("tidings.outcome").is_none_or(|outcome| outcome != "duplicate"))
        .map(|span| (line(span), *span))
        .collect();
    below.sort_by(|one, other| (&one.0, one.1.start).cmp(&(&other.0, other.1.start)));
    for (line, span) in below {
        let lost = if parent == Some("orphan") { "ORPHAN " } else { "" };
        *text += &format!("{}{lost}{line}\n", "  ".repeat(depth));
        write_below(children, Some(&span.span_id), depth + 1, text);
    }
}

fn line(span: &ReceivedSpan) -> String {
    let attribute = |name: &str| span.attributes.get(name).map(String::as_str).unwrap_or_default();
    let topic = attribute("messaging.destination.name");
    let short = topic.rsplit('.').next().unwrap_or_default();
    let event = attribute("cloudevents.event_type").rsplit('.').next().unwrap_or_default().to_owned();
    let name = if topic.is_empty() { span.name.clone() } else { span.name.replace(topic, short) };
    format!("{}: {name} {event}", span.service).trim_end().to_owned()
}
