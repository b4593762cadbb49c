//! What each mail says, stated here once more on purpose: a template that says something else must show.

use contracts::order::{CancellationReason, OrderPlaced, Recipient};
use contracts::payment::PaymentRefunded;
use iso_currency::Currency;
use uuid::Uuid;

/// The facts that mails are made of.
pub(super) struct Words<'a> {
    pub(super) order_id: Uuid,
    pub(super) placed: &'a OrderPlaced,
    pub(super) recipient: &'a Recipient,
    pub(super) reason: Option<CancellationReason>,
    pub(super) refund: Option<&'a PaymentRefunded>,
}

/// A mail as it should be.
pub(super) struct Expected {
    pub(super) subject: String,
    pub(super) text: String,
    /// The words of the HTML without its tags.
    pub(super) html_words: Vec<String>,
}

impl Words<'_> {
    /// The mail of this kind; none where the facts for it are missing.
    pub(super) fn of(&self, kind: &str) -> Option<Expected> {
        let (order_id, name) = (self.order_id, &self.recipient.name);
        let total = money(self.placed.total_minor, &self.placed.currency);
        let (subject, paragraphs) = match kind {
            "order_received" => return Some(self.received(&total)),
            "order_confirmed" => (
                format!("Your order {order_id} is confirmed"),
                vec![format!("your order {order_id} is paid and confirmed. The total was {total}.")],
            ),
            "order_cancelled" => (
                format!("Your order {order_id} was cancelled"),
                vec![
                    format!("your order {order_id} was cancelled: {}.", in_words(self.reason?)),
                    "If we have already taken money for it, you get it back.".to_owned(),
                ],
            ),
            "payment_refunded" => {
                let refund = self.refund?;
                let amount = money(refund.amount_minor, &refund.currency);
                (
                    format!("Your money for order {order_id} is on its way back"),
                    vec![format!("we have given back {amount} for your cancelled order {order_id}.")],
                )
            }
            _ => return None,
        };
        let text = format!("Dear {name},\n\n{}\n", paragraphs.join("\n\n"));
        let html_words = split(&format!("{subject} {text}"));
        Some(Expected { subject, text, html_words })
    }

    fn received(&self, total: &str) -> Expected {
        let (order_id, Recipient { name, address, .. }) = (self.order_id, self.recipient);
        let subject = format!("We have received your order {order_id}");
        let thanks = format!("Dear {name},\n\nthank you for your order {order_id}. We have received it:\n\n");
        let (mut lines, mut rows) = (String::new(), "Quantity Article Price".to_owned());
        for line in &self.placed.lines {
            let price = money(line.unit_price_minor, &self.placed.currency);
            lines.push_str(&format!("  {} x {} at {price}\n", line.quantity, line.sku));
            rows.push_str(&format!(" {} {} {price}", line.quantity, line.sku));
        }
        let place = format!(
            "  {name}\n  {}\n  {} {}\n  {}\n",
            address.street, address.postal_code, address.city, address.country
        );
        let rest = format!(
            "Total: {total}\n\nIt will be sent to:\n\n{place}\nWe will write again when it is confirmed.\n"
        );
        let html_words = split(&format!("{subject} {thanks} {rows} {rest}"));
        Expected { text: format!("{thanks}{lines}\n{rest}"), subject, html_words }
    }
}

const fn in_words(reason: CancellationReason) -> &'static str {
    match reason {
        CancellationReason::OutOfStock => "something you ordered is out of stock",
        CancellationReason::PaymentDeclined => "the payment was declined",
        CancellationReason::CustomerRequest => "as you asked",
        CancellationReason::TimedOut => "we could not complete it in time",
        CancellationReason::Unknown => "we could not complete it",
    }
}

/// `42.00 GBP`, `500 JPY`: as many decimals as ISO 4217 gives the currency.
fn money(minor: i64, currency: &str) -> String {
    let decimals = usize::from(Currency::from_code(currency).and_then(Currency::exponent).unwrap_or(0));
    let (sign, digits) =
        (if minor < 0 { "-" } else { "" }, format!("{:0>1$}", minor.unsigned_abs(), decimals + 1));
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    if decimals == 0 {
        format!("{sign}{whole} {currency}")
    } else {
        format!("{sign}{whole}.{fraction} {currency}")
    }
}

fn split(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// The words of a page without its tags.
pub(super) fn words(html: &str) -> Vec<String> {
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    while let Some((before, tag)) = rest.split_once('<') {
        text.push_str(before);
        let (name, after) = tag.split_once('>').unwrap_or((tag, ""));
        // What stands within a line belongs to its word.
        if !["strong", "/strong"].contains(&name) {
            text.push(' ');
        }
        rest = after;
    }
    text.push_str(rest);
    split(&unescaped(&text))
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, entity)) = rest.split_once('&') {
        plain.push_str(before);
        let Some((name, after)) = entity.split_once(';') else {
            plain.push('&');
            rest = entity;
            continue;
        };
        let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
        let letter = match name {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            _ => match name.strip_prefix("#x") {
                Some(digits) => number(digits, 16),
                None => name.strip_prefix('#').and_then(|digits| number(digits, 10)),
            },
        };
        plain.extend(letter);
        rest = after;
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_the_decimals_of_their_currency() {
        let shown =
            [(5, "GBP"), (-150, "GBP"), (500, "JPY"), (1_234, "KWD")].map(|(minor, code)| money(minor, code));
        assert_eq!(shown, ["0.05 GBP", "-1.50 GBP", "500 JPY", "1.234 KWD"]);
    }

    #[test]
    fn words_of_a_page_are_those_between_its_tags() {
        let page = "<td>2</td><td>A &amp; B&#x2f;C</td><p>Total: <strong>4.20 GBP</strong>.</p>";
        assert_eq!(words(page), ["2", "A", "&", "B/C", "Total:", "4.20", "GBP."]);
    }
}
