//! Sending: stock first, then orders, each repeated with its own key until the answer is known.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use backoff::Backoff;
use contracts::clock;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::breaker::Breaker;
use super::progress::Progress;
use super::rules::NewOrder;
use crate::client::{Answer, Client, encode};

/// The pauses between two attempts.
const REPEAT: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));

/// The longest Idempotency-Key that the services take.
const LONGEST_KEY: usize = 255;

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
    header_key("invoice-", invoice)
}

/// The Idempotency-Key of a SKU's replenishment: keys are inventory's as a whole, so each SKU needs its own.
fn replenish_key(quantity: u64, sku: &str) -> String {
    header_key(&format!("import-replenish-{quantity}-"), &encode(sku))
}

/// A key that a header takes: 1 to 255 printable ASCII characters. What is none is named by its digest.
fn header_key(prefix: &str, name: &str) -> String {
    let is_key =
        prefix.len() + name.len() <= LONGEST_KEY && name.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if is_key {
        return format!("{prefix}{name}");
    }
    let digest = Sha256::digest(name.as_bytes());
    digest.iter().fold(format!("{prefix}sha256-"), |key, byte| format!("{key}{byte:02x}"))
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
    let breaker = &Breaker::new(pace.timeout);
    stream::iter(skus.into_iter().map(Ok))
        .try_for_each_concurrent(pace.concurrency, async |sku| {
            let key = replenish_key(quantity, &sku);
            let attempt = || client.replenish(&sku, &key, quantity);
            match repeat(attempt, pace.timeout, breaker, progress).await.0 {
                Answer::Done { .. } => {
                    progress.replenished();
                    Ok(())
                }
                Answer::Rejected(why) | Answer::Unknown(why) => {
                    bail!("inventory at {} did not replenish {sku:?}: {why}", client.shown())
                }
            }
        })
        .await
}

/// Places every order in order, several at once; each one's fate is noted in `progress`. When nothing is answered for
/// `pace.timeout`, the rest is not sent.
pub async fn place(client: &Client, orders: Vec<NewOrder>, pace: Pace, progress: &Arc<Progress>) {
    let (breaker, began) = (&Breaker::new(pace.timeout), clock::now());
    stream::iter(orders)
        .for_each_concurrent(pace.concurrency, async |order| {
            if breaker.is_open() {
                return progress.not_sent();
            }
            let key = order_key(&order.invoice);
            let body = request(&order);
            let attempt = || client.place_order(&key, &body);
            let (answer, is_repeated) = repeat(attempt, pace.timeout, breaker, progress).await;
            match answer {
                // The attempt without an answer may have placed it; then it is of this run all the same.
                Answer::Done { body, replayed } => {
                    let is_of_this_run = is_repeated && body.placed_at >= began;
                    progress.accepted(&body, replayed && !is_of_this_run);
                }
                Answer::Rejected(why) => progress.rejected(&order.invoice, &why),
                Answer::Unknown(why) => progress.unknown(&order.invoice, &why),
            }
        })
        .await;
}

/// Repeats `attempt` while its outcome is unknown, with growing, jittered pauses, for at most `timeout`, and until the breaker
/// opens. Returns whether it was repeated, too.
async fn repeat<T, F: Future<Output = Answer<T>>>(
    mut attempt: impl FnMut() -> F,
    timeout: Duration,
    breaker: &Breaker,
    progress: &Progress,
) -> (Answer<T>, bool) {
    let deadline = Instant::now() + timeout;
    let mut failures = 0;
    loop {
        let answer = attempt().await;
        let Answer::Unknown(_) = answer else {
            breaker.answered();
            return (answer, failures > 0);
        };
        if Instant::now() >= deadline || breaker.is_open() {
            return (answer, failures > 0);
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
        let invoices = [
            "536365".into(),
            "Größe-1".into(),
            "Größe-2".into(),
            "請求書".into(),
            "9".repeat(300),
            "9".repeat(301),
        ];
        let keys: BTreeSet<String> = invoices.iter().map(|invoice: &String| order_key(invoice)).collect();
        assert_eq!(keys.len(), invoices.len(), "{keys:?}");
        for (key, again) in invoices.iter().map(|invoice| (order_key(invoice), order_key(invoice))) {
            assert!(key.is_ascii() && key.len() <= 255 && key.starts_with("invoice-"), "{key}");
            assert_eq!(key, again);
        }
        for sku in ["GIFT CARD", "Größe", &"ü".repeat(100)] {
            let key = replenish_key(7, sku);
            assert!(key.is_ascii() && key.len() <= 255, "{key}");
        }
        assert_eq!(replenish_key(7, "GIFT CARD"), "import-replenish-7-GIFT%20CARD");
        assert_eq!(replenish_key(7, "Gr\u{f6}\u{df}e"), "import-replenish-7-Gr%C3%B6%C3%9Fe");
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
