//! A mail as it is sent: an envelope and a content (RFC 5322), both ASCII.

use std::time::SystemTime;

use contracts::email::Address as Ascii;
use lettre::Address;
use lettre::address::{AddressError, Envelope};
use lettre::message::{Mailbox, Message, MultiPart};

use crate::application::mail::Mail;
use crate::application::mailer::SendError;

/// Who sends all mails.
#[derive(Debug)]
pub(super) struct Sender(Mailbox);

/// A mail as it goes over a connection.
pub(super) struct Written {
    pub(super) envelope: Envelope,
    pub(super) content: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum InvalidSender {
    #[error("it has no mail address")]
    Syntax(#[source] AddressError),
    #[error("its address needs SMTPUTF8, which is not used")]
    NotAscii,
}

impl Sender {
    pub(super) fn try_new(from: &str) -> Result<Self, InvalidSender> {
        let mut from: Mailbox = from.parse().map_err(InvalidSender::Syntax)?;
        if let Ok(address) = Ascii::try_new(from.email.as_ref()) {
            from.email = envelope_address(&address).map_err(InvalidSender::Syntax)?;
        }
        let is_ascii = AsRef::<str>::as_ref(&from.email).is_ascii();
        if is_ascii { Ok(Self(from)) } else { Err(InvalidSender::NotAscii) }
    }

    /// The mail from this sender. A mail that can't be sent as it is, is refused for good; the reason names nobody.
    pub(super) fn write(&self, mail: &Mail) -> Result<Written, SendError> {
        let Self(from) = self;
        let address = address(&mail.recipient.email)?;
        let message = Message::builder()
            .from(from.clone())
            .to(Mailbox::new(Some(mail.recipient.name.clone()), address))
            .subject(mail.subject.clone())
            .date(SystemTime::from(mail.created_at))
            .message_id(Some(mail.message_id.clone()))
            .multipart(MultiPart::alternative_plain_html(mail.text.clone(), mail.html.clone()))
            .map_err(|_| SendError::Invalid("not a valid message".to_owned()))?;
        let written = Written { envelope: message.envelope().clone(), content: message.formatted() };
        if written.content.is_ascii() {
            Ok(written)
        } else {
            Err(SendError::Invalid("not a message of 7-bit lines".to_owned()))
        }
    }
}

/// An address of an event, by the rule by which order takes addresses today.
fn address(email: &str) -> Result<Address, SendError> {
    let address =
        Ascii::try_new(email).map_err(|error| SendError::Invalid(format!("invalid address: {error}")))?;
    envelope_address(&address).map_err(|error| SendError::Invalid(format!("invalid address: {error}")))
}

fn envelope_address(address: &Ascii) -> Result<Address, AddressError> {
    Address::new(address.local_part(), address.domain())
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use contracts::TraceContext;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::application::mail::Recipient;
    use crate::domain::OrderId;

    fn mail_to(email: &str) -> Mail {
        Mail {
            order_id: OrderId(Uuid::nil()),
            kind: "order_received".to_owned(),
            message_id: "<1.order_received@tidings.example>".to_owned(),
            recipient: Recipient { name: "Ève".to_owned(), email: email.to_owned() },
            subject: "Grüße".to_owned(),
            text: "Grüße".to_owned(),
            html: "<p>Grüße</p>".to_owned(),
            attempts: 1,
            refusals: 0,
            lease_id: Uuid::nil(),
            created_at: DateTime::UNIX_EPOCH,
            trace: TraceContext::default(),
        }
    }

    #[test]
    fn a_sender_may_have_an_international_domain_and_no_international_name() {
        assert!(Sender::try_new("Tidings <orders@tidings.example>").is_ok());
        assert!(Sender::try_new("Tidings <orders@localhost>").is_ok());
        let Sender(from) = Sender::try_new("Tidings <orders@müller.example>").unwrap();
        assert_eq!(from.email.domain(), "xn--mller-kva.example");
        assert!(matches!(Sender::try_new("Tidings <jörg@example.org>"), Err(InvalidSender::NotAscii)));
        assert!(matches!(Sender::try_new("Tidings"), Err(InvalidSender::Syntax(_))));
    }

    /// Pieces of addresses, good and bad ones.
    const PIECES: [&str; 30] = [
        "ada",
        "a",
        ".",
        "..",
        "@",
        "\\",
        "\"",
        "[",
        "]",
        ":25",
        "127.0.0.1",
        "localhost",
        "example",
        ".org",
        "org",
        "müller",
        "xn--mller-kva",
        "ß",
        "例え",
        "\u{200d}",
        "-",
        "_",
        "+tag",
        "'",
        "{|}~",
        " ",
        "\r\n",
        "<",
        ">",
        "I",
    ];

    fn addresses() -> impl Strategy<Value = String> {
        let pieces = prop::collection::vec(prop::sample::select(&PIECES[..]), 0..6);
        let either =
            prop_oneof![pieces.prop_map(|pieces| pieces.concat()), "\\PC{0,70}", "[a-zA-Z0-9.-]{1,70}"];
        let domain = prop_oneof!["[a-zü0-9-]{1,64}(\\.[a-z0-9-]{1,64}){0,4}", either.clone()];
        prop_oneof![
            3 => (either.clone(), domain).prop_map(|(local_part, domain)| format!("{local_part}@{domain}")),
            1 => either,
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn every_address_that_the_rule_takes_goes_into_an_envelope(email in addresses()) {
            let sender = Sender::try_new("Tidings <orders@tidings.example>").unwrap();
            match (Ascii::try_new(&email), sender.write(&mail_to(&email))) {
                (Ok(address), Ok(written)) => {
                    let expected = format!("{}@{}", address.local_part(), address.domain());
                    let [recipient] = written.envelope.to() else { panic!("{:?}", written.envelope) };
                    prop_assert_eq!(recipient.to_string(), &expected[..]);
                    prop_assert!(expected.is_ascii() && !expected.contains(['\r', '\n', '<', '>', ' ']));
                    // The line of a command (RFC 5321): RCPT TO:<...> and its end.
                    prop_assert!(expected.len() <= 254);
                }
                (Err(_), Err(SendError::Invalid(_))) => {}
                (rule, written) => prop_assert!(false, "{email:?}: {rule:?}, {:?}", written.map(|_| ())),
            }
        }
    }
}
