//! Addresses of events that are on the topic, whatever the order API takes today.

use contracts::AnyEvent;
use contracts::clock::new_id;
use contracts::order::{Address, Recipient};
use testkit::smtp::SmtpServer;
use uuid::Uuid;

use crate::stack::{Stack, placed_by};

fn placed_for(order_id: Uuid, email: &str) -> AnyEvent {
    let address = Address {
        street: "High Street 1".to_owned(),
        city: "York".to_owned(),
        postal_code: "YO1".to_owned(),
        country: "GB".to_owned(),
    };
    placed_by(order_id, Some(Recipient { name: "Eve".to_owned(), email: email.to_owned(), address }))
}

#[tokio::test]
async fn a_mail_to_what_is_no_address_fails_at_once_with_its_reason() {
    let stack = Stack::start().await;
    let server = SmtpServer::start(&[]).await.unwrap();
    let addresses = [
        ".eve@example.org",
        "eve.@example.org",
        "e..ve@example.org",
        "eve\\@example.org",
        "eve@example.org:25",
        "eve@[192.0.2.1]",
        "eve@192.0.2.1",
        "eve@localhost",
        "jörg@example.org",
        "eve",
    ];
    let orders = addresses.map(|address| (new_id(), address));
    stack.apply(&orders.map(|(order_id, address)| placed_for(order_id, address))).await;
    let worker = stack.worker(&server.url());
    stack.rest().await;
    worker.stop().await;
    for (order_id, address) in orders {
        let row = stack.mails(order_id).await.remove(0);
        assert_eq!((row.state.as_str(), row.attempts), ("failed", 1), "{address}: {row:?}");
        let reason = row.last_error.unwrap_or_default();
        assert!(reason.starts_with("invalid address: "), "{address}: {reason}");
        assert!(!reason.contains("eve") && !reason.contains("jörg"), "no personal data: {reason}");
    }
    assert_eq!(server.taken(), Vec::<String>::new());
}

#[tokio::test]
async fn an_international_domain_is_sent_as_punycode() {
    let stack = Stack::start().await;
    let server = SmtpServer::start(&[]).await.unwrap();
    let order_id = new_id();
    stack.apply(&[placed_for(order_id, "eve@müller.example")]).await;
    let worker = stack.worker(&server.url());
    stack.rest().await;
    worker.stop().await;
    let row = stack.mails(order_id).await.remove(0);
    assert_eq!((row.state.as_str(), row.attempts), ("sent", 1), "{row:?}");
    assert_eq!(row.recipient_email, "eve@müller.example");
    let taken = server.taken();
    assert!(taken[0].contains("<eve@xn--mller-kva.example>"), "{}", taken[0]);
}
