//! One order of each end, from the HTTP request to the mail.

use std::collections::BTreeSet;

use serde_json::Value;
use system::{ENDS_WITHIN, System};
use testkit::wait::eventually;
use tidings::services::ServiceName;
use uuid::Uuid;

async fn mails_become(system: &System, order_id: Uuid, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|kind| (*kind).to_owned()).collect();
    let path = format!("/notifications?order_id={order_id}");
    eventually("the mails are sent", ENDS_WITHIN, async || {
        let answer: Value = system.client(ServiceName::Notification)?.get(&path).await.into_result()?;
        let text = answer.to_string();
        let all = ["order_received", "order_confirmed", "order_cancelled", "payment_refunded"];
        let found: BTreeSet<String> =
            all.into_iter().filter(|kind| text.contains(kind)).map(str::to_owned).collect();
        if found == expected { Ok(()) } else { Err(anyhow::anyhow!("{text}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_reaches_each_end_from_request_to_mail_and_the_books_balance() -> anyhow::Result<()> {
    let system = System::start().await;
    system.replenish("TEAPOT", 100).await?;
    system.replenish("BANK CHARGES", 1).await?;

    let confirmed = system.place("TEAPOT", 2, "tok_visa").await?;
    let out_of_stock = system.place("BANK CHARGES", 2, "tok_visa").await?;
    let unknown_sku = system.place("NO SUCH THING", 1, "tok_visa").await?;
    let declined = system.place("TEAPOT", 1, "tok_declined").await?;
    let fraud = system.place("TEAPOT", 1, "tok_fraud").await?;
    let capture_declined = system.place("TEAPOT", 1, "tok_capture_declined").await?;
    let flaky = system.place("TEAPOT", 1, "tok_flaky").await?;
    let timed_out_call = system.place("TEAPOT", 1, "tok_timeout").await?;
    let cancelled = system.place("TEAPOT", 3, "tok_slow").await?;
    system.cancel(cancelled).await?;

    for (order_id, end) in [
        (confirmed, "confirmed"),
        (flaky, "confirmed"),
        (timed_out_call, "confirmed"),
        (out_of_stock, "cancelled: out_of_stock"),
        (unknown_sku, "cancelled: out_of_stock"),
        (declined, "cancelled: payment_declined"),
        (fraud, "cancelled: payment_declined"),
        (capture_declined, "cancelled: payment_declined"),
        (cancelled, "cancelled: customer_request"),
    ] {
        assert_eq!(system.ended(order_id).await.end().as_deref(), Some(end), "order {order_id}");
    }
    mails_become(&system, confirmed, &["order_received", "order_confirmed"]).await;
    mails_become(&system, declined, &["order_received", "order_cancelled"]).await;

    let report = system.verify().await?;
    assert!(report.holds(), "{report}");
    println!("{report}");

    let revenue: Value =
        system.client(ServiceName::Analytics)?.get("/analytics/revenue?currency=EUR").await.into_result()?;
    assert_eq!(revenue["orders"], 3);
    assert_eq!(revenue["units"], 4);
    assert_eq!(revenue["revenue_minor"], 4 * 1_250);
    let stock: Value = system.client(ServiceName::Inventory)?.get("/stock/TEAPOT").await.into_result()?;
    assert_eq!(
        (&stock["available"], &stock["reserved"], &stock["committed"]),
        (&96.into(), &0.into(), &4.into())
    );
    system.stop().await
}
