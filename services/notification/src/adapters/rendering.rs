//! Renders mails from drafts: plain text and HTML, the latter escaped.

use std::sync::Arc;

use iso_currency::Currency;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, Value, context};

use crate::application::mail::{Contents, Draft};
use crate::domain::{Money, Notification, Reason};

#[derive(Clone, PartialEq, Eq)]
pub struct Rendered {
    /// With its angle brackets; the same whenever the same notification is rendered.
    pub message_id: String,
    /// Holds no personal data.
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// Renders mails. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Renderer {
    templates: Arc<Environment<'static>>,
    message_id_domain: Arc<str>,
}

const TEMPLATES: [(&str, &str); 9] = [
    ("layout.html", include_str!("../../templates/layout.html")),
    ("order_received.txt", include_str!("../../templates/order_received.txt")),
    ("order_received.html", include_str!("../../templates/order_received.html")),
    ("order_confirmed.txt", include_str!("../../templates/order_confirmed.txt")),
    ("order_confirmed.html", include_str!("../../templates/order_confirmed.html")),
    ("order_cancelled.txt", include_str!("../../templates/order_cancelled.txt")),
    ("order_cancelled.html", include_str!("../../templates/order_cancelled.html")),
    ("payment_refunded.txt", include_str!("../../templates/payment_refunded.txt")),
    ("payment_refunded.html", include_str!("../../templates/payment_refunded.html")),
];

impl Renderer {
    /// The built-in templates; Message-IDs end in `@message_id_domain`.
    ///
    /// # Errors
    /// When a template is not well-formed.
    pub fn try_new(message_id_domain: &str) -> Result<Self, minijinja::Error> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .keep_trailing_newline(true)
            .build()?;
        templates.set_syntax(syntax);
        for (name, source) in TEMPLATES {
            templates.add_template(name, source)?;
        }
        Ok(Self { templates: Arc::new(templates), message_id_domain: message_id_domain.into() })
    }

    /// # Errors
    /// When a template uses what the draft doesn't have. The error holds no personal data.
    pub fn render(&self, draft: &Draft) -> Result<Rendered, minijinja::Error> {
        let (kind, order_id) = (draft.notification.kind(), draft.order_id.0.to_string());
        let subject = subject(&draft.notification, &order_id);
        let values = context! {
            subject => subject.as_str(),
            order_id => order_id.as_str(),
            name => draft.recipient.name.as_str(),
            total => money(&draft.total),
            ..particulars(draft)
        };
        Ok(Rendered {
            text: self.templates.get_template(&format!("{kind}.txt"))?.render(&values)?,
            html: self.templates.get_template(&format!("{kind}.html"))?.render(&values)?,
            message_id: format!("<{order_id}.{kind}@{}>", self.message_id_domain),
            subject,
        })
    }
}

fn subject(notification: &Notification, order_id: &str) -> String {
    match notification {
        Notification::OrderReceived => format!("We have received your order {order_id}"),
        Notification::OrderConfirmed => format!("Your order {order_id} is confirmed"),
        Notification::OrderCancelled(_) => format!("Your order {order_id} was cancelled"),
        Notification::PaymentRefunded(_) => format!("Your money for order {order_id} is on its way back"),
    }
}

/// The values of this kind's templates.
fn particulars(draft: &Draft) -> Value {
    match &draft.notification {
        Notification::OrderReceived => draft
            .contents
            .as_ref()
            .map_or_else(|| context! {}, |contents| order_contents(contents, &draft.total.currency)),
        Notification::OrderConfirmed => context! {},
        Notification::OrderCancelled(reason) => context! { reason => reason_text(*reason) },
        Notification::PaymentRefunded(amount) => context! { amount => money(amount) },
    }
}

const fn reason_text(reason: Reason) -> &'static str {
    match reason {
        Reason::OutOfStock => "something you ordered is out of stock",
        Reason::PaymentDeclined => "the payment was declined",
        Reason::CustomerRequest => "as you asked",
        Reason::TimedOut => "we could not complete it in time",
        Reason::Unknown => "we could not complete it",
    }
}

fn order_contents(contents: &Contents, currency: &str) -> Value {
    let lines: Vec<Value> = contents
        .lines
        .iter()
        .map(|line| {
            let unit_price = Money { amount_minor: line.unit_price_minor, currency: currency.to_owned() };
            context! { sku => line.sku.as_str(), quantity => line.quantity, unit_price => money(&unit_price) }
        })
        .collect();
    context! {
        lines => lines,
        street => contents.address.street.as_str(),
        city => contents.address.city.as_str(),
        postal_code => contents.address.postal_code.as_str(),
        country => contents.address.country.as_str(),
    }
}

/// `42.00 GBP`, `500 JPY`: as many decimals as ISO 4217 gives the currency.
fn money(money: &Money) -> String {
    let decimals = Currency::from_code(&money.currency).and_then(Currency::exponent).unwrap_or(0);
    let unit = 10_u64.pow(u32::from(decimals));
    let (sign, minor) = (if money.amount_minor < 0 { "-" } else { "" }, money.amount_minor.unsigned_abs());
    if decimals == 0 {
        return format!("{sign}{minor} {}", money.currency);
    }
    let width = usize::from(decimals);
    format!("{sign}{}.{:0width$} {}", minor / unit, minor % unit, money.currency)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use contracts::TraceContext;
    use uuid::Uuid;

    use super::*;
    use crate::application::mail::{Line, PostalAddress, Recipient};
    use crate::domain::OrderId;

    fn draft(notification: Notification) -> Draft {
        Draft {
            order_id: OrderId(Uuid::from_u128(5)),
            contents: (notification == Notification::OrderReceived).then(|| Contents {
                lines: vec![Line { sku: "A & B".to_owned(), quantity: 2, unit_price_minor: 2_105 }],
                address: PostalAddress {
                    street: "High Street 1".to_owned(),
                    city: "York".to_owned(),
                    postal_code: "YO1".to_owned(),
                    country: "GB".to_owned(),
                },
            }),
            notification,
            recipient: Recipient { name: "<b>Eve</b>".to_owned(), email: "eve@example.org".to_owned() },
            total: Money { amount_minor: 4_210, currency: "GBP".to_owned() },
            event_id: Uuid::nil(),
            trace: TraceContext::default(),
            created_at: DateTime::UNIX_EPOCH,
        }
    }

    fn render(notification: Notification) -> Rendered {
        Renderer::try_new("example.org").expect("templates").render(&draft(notification)).expect("a mail")
    }

    #[test]
    fn every_notification_has_a_mail_with_a_stable_message_id() {
        let refund = Money { amount_minor: 4_210, currency: "GBP".to_owned() };
        for notification in [
            Notification::OrderReceived,
            Notification::OrderConfirmed,
            Notification::OrderCancelled(Reason::OutOfStock),
            Notification::PaymentRefunded(refund),
        ] {
            let mail = render(notification.clone());
            let id = format!("<00000000-0000-0000-0000-000000000005.{}@example.org>", notification.kind());
            assert_eq!(mail.message_id, id);
            assert!(mail.text.contains("Dear <b>Eve</b>,"), "{}", mail.text);
            assert_eq!(render(notification).text, mail.text);
        }
    }

    #[test]
    fn html_escapes_what_customers_wrote() {
        let mail = render(Notification::OrderReceived);
        assert!(
            mail.html.contains("Dear &lt;b&gt;Eve&lt;&#x2f;b&gt;") && !mail.html.contains("<b>Eve"),
            "{}",
            mail.html
        );
        assert!(
            mail.html.contains("A &amp; B") && mail.text.contains("2 x A & B at 21.05 GBP"),
            "{}",
            mail.text
        );
    }

    #[test]
    fn amounts_have_the_decimals_of_their_currency() {
        let shown =
            |amount_minor, currency: &str| money(&Money { amount_minor, currency: currency.to_owned() });
        assert_eq!(shown(5, "GBP"), "0.05 GBP");
        assert_eq!(shown(500, "JPY"), "500 JPY");
        assert_eq!(shown(1_234, "KWD"), "1.234 KWD");
    }
}
