//! The timeline of an order: one line per event, with times and services.

use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use contracts::AnyEvent;
use tokio::time::timeout;
use uuid::Uuid;

use crate::follow::Follower;
use crate::text::money;
use crate::up::process::Say;

/// How long an order may take.
const LASTS_AT_MOST: Duration = Duration::from_secs(60);

/// Prints the events of `order_id` until it ends.
///
/// # Errors
/// When it does not end in time.
pub(super) async fn print(follower: &mut Follower, order_id: Uuid, say: &Say) -> anyhow::Result<()> {
    timeout(LASTS_AT_MOST, until_the_end(follower, order_id, say))
        .await
        .with_context(|| format!("order {order_id} did not end within {LASTS_AT_MOST:?}"))?
}

async fn until_the_end(follower: &mut Follower, order_id: Uuid, say: &Say) -> anyhow::Result<()> {
    let key = order_id.to_string();
    let mut began: Option<DateTime<Utc>> = None;
    loop {
        let (envelope, event) = follower.next().await.context("the broker is gone")?;
        if event.key() != key {
            continue;
        }
        let at = envelope.occurred_at;
        let since = at - *began.get_or_insert(at);
        say(format!(
            "{}  +{:>5} ms  {:<10} {:<17} {}",
            at.format("%H:%M:%S%.3f"),
            since.num_milliseconds(),
            envelope.source,
            short_name(&event),
            detail(&event)
        ));
        match event {
            AnyEvent::OrderConfirmed(_) | AnyEvent::OrderCancelled(_) => return Ok(()),
            AnyEvent::OrderPlaced(_)
            | AnyEvent::StockReserved(_)
            | AnyEvent::StockReleased(_)
            | AnyEvent::StockRejected(_)
            | AnyEvent::PaymentCompleted(_)
            | AnyEvent::PaymentDeclined(_)
            | AnyEvent::PaymentRefunded(_)
            | AnyEvent::StockReplenished(_)
            | AnyEvent::StockLevelLow(_)
            | AnyEvent::StockLevelRestored(_) => {}
        }
    }
}

fn short_name(event: &AnyEvent) -> &'static str {
    let full = event.event_type();
    full.rsplit('.').next().unwrap_or(full)
}

fn detail(event: &AnyEvent) -> String {
    match event {
        AnyEvent::OrderPlaced(e) => {
            format!(
                "{} lines, {} {}, paid with {}",
                e.lines.len(),
                money(e.total_minor),
                e.currency,
                e.payment_method
            )
        }
        AnyEvent::OrderConfirmed(e) => format!("by payment {}", e.payment_id),
        AnyEvent::OrderCancelled(e) => format!("{:?}", e.reason),
        AnyEvent::StockReserved(e) => {
            let units: i128 = e.lines.iter().map(|line| i128::from(line.quantity)).sum();
            format!("{units} units held")
        }
        AnyEvent::StockReleased(_) => "units given back".to_owned(),
        AnyEvent::StockRejected(e) => format!("{} SKUs short", e.shortages.len()),
        AnyEvent::PaymentCompleted(e) => format!("{} {} captured", money(e.amount_minor), e.currency),
        AnyEvent::PaymentDeclined(e) => e.reason.clone(),
        AnyEvent::PaymentRefunded(e) => format!("{} {} given back", money(e.amount_minor), e.currency),
        AnyEvent::StockReplenished(e) => format!("{} more of {}", e.quantity, e.sku),
        AnyEvent::StockLevelLow(e) => format!("{} of {} left", e.available, e.sku),
        AnyEvent::StockLevelRestored(e) => format!("{} of {} again", e.available, e.sku),
    }
}
