//! Sending: stock first, then orders, each repeated with its own key until the answer is known.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use backoff::Backoff;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::progress::Progress;
use super::rules::NewOrder;
use crate::client::{Answer, Client, encode};

/// The pauses between two attempts.
const REPEAT: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));

/// How requests are sent.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Requests in flight at once.
    pub concurrency: usize,
    /// How long one request is repeated while its outcome is unknown.
    pub timeout: Duration,
}

/// The body of `POST /orders`.
pub fn request(order: &NewOrder) -> Value {
    json!({
        "customer_id": order.customer_id,
        "currency": "GBP",
        "lines": order.lines,
        "payment_method": "tok_visa",
    })
}

/// The Idempotency-Key of an invoice's order: the same in every run.
pub fn order_key(invoice: &str) -> String {
    format!("invoice-{invoice}")
}

/// Gives every SKU `quantity` units; the keys make a second run with the same quantity a repetition.
///
/// # Errors
/// When inventory refuses one, or an outcome stays unknown.
pub async fn replenish(
    client: &Client,
    skus: impl IntoIterator<Item = String>,
    quantity: u64,
    pace: Pace,
    progress: &Progress,
) -> anyhow::Result<()> {
    stream::iter(skus.into_iter().map(Ok))
        .try_for_each_concurrent(pace.concurrency, async |sku| {
            // Keys are inventory's as a whole, so each SKU needs its own.
            let key = format!("import-replenish-{quantity}-{}", encode(&sku));
            let attempt = || client.replenish(&sku, &key, quantity);
            match repeat(attempt, pace.timeout, progress).await {
                Answer::Done { .. } => {
                    progress.replenished();
                    Ok(())
                }
                Answer::Rejected(why) | Answer::Unknown(why) => {
                    bail!("inventory at {} did not replenish {sku:?}: {why}", client.base())
                }
            }
        })
        .await
}

/// Places every order in order, several at once; each one's fate is noted in `progress`.
pub async fn place(client: &Client, orders: Vec<NewOrder>, pace: Pace, progress: &Arc<Progress>) {
    stream::iter(orders)
        .for_each_concurrent(pace.concurrency, async |order| {
            let key = order_key(&order.invoice);
            let body = request(&order);
            let attempt = || client.place_order(&key, &body);
            match repeat(attempt, pace.timeout, progress).await {
                Answer::Done { body, replayed } => progress.accepted(&body, replayed),
                Answer::Rejected(why) => progress.rejected(&order.invoice, &why),
                Answer::Unknown(why) => progress.unknown(&order.invoice, &why),
            }
        })
        .await;
}

/// Repeats `attempt` while its outcome is unknown, with growing, jittered pauses, for at most `timeout`.
async fn repeat<T, F: Future<Output = Answer<T>>>(
    mut attempt: impl FnMut() -> F,
    timeout: Duration,
    progress: &Progress,
) -> Answer<T> {
    let deadline = Instant::now() + timeout;
    let mut failures = 0;
    loop {
        let answer = attempt().await;
        let Answer::Unknown(_) = answer else { return answer };
        if Instant::now() >= deadline {
            return answer;
        }
        progress.repeated();
        failures += 1;
        tokio::time::sleep(REPEAT.jittered(failures, rand::random())).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::import::rules::Line;

    #[test]
    fn every_invoice_has_a_key_that_a_header_takes_and_no_other_has() {
        let invoices = ["536365".into(), "Größe-1".into(), "Größe-2".into(), "請求書".into(), "9".repeat(300), "9".repeat(301)];
        let keys: BTreeSet<String> = invoices.iter().map(|invoice: &String| order_key(invoice)).collect();
        assert_eq!(keys.len(), invoices.len(), "{keys:?}");
        for (key, again) in invoices.iter().map(|invoice| (order_key(invoice), order_key(invoice))) {
            assert!(key.is_ascii() && key.len() <= 255 && key.starts_with("invoice-"), "{key}");
            assert_eq!(key, again);
        }
    }

    #[test]
    fn an_order_is_sent_as_the_api_expects_it() {
        let order = NewOrder {
            invoice: "536365".into(),
            customer_id: "17850".into(),
            lines: vec![Line { sku: "85123A".into(), quantity: 6, unit_price_minor: 255 }],
        };
        assert_eq!(
            request(&order),
            json!({
                "customer_id": "17850", "currency": "GBP", "payment_method": "tok_visa",
                "lines": [{"sku": "85123A", "quantity": 6, "unit_price_minor": 255}],
            })
        );
        assert_eq!(order_key("536365"), "invoice-536365");
    }
}
