//! `kill -9` of each service in turn while orders are open: nothing is lost, doubled or given up.

use std::sync::Arc;
use std::time::Duration;

use system::{ENDS_WITHIN, System};
use testkit::wait::eventually;
use tidings::import::place::{Pace, place};
use tidings::import::progress::Progress;
use tidings::import::rules::{Line, NewOrder};
use tidings::import::watch::watch;
use tidings::services::ServiceName;
use tokio_util::sync::CancellationToken;

/// Orders placed for each kill.
const ORDERS_A_ROUND: usize = 300;
/// A kill while fewer orders are open would show little.
const OPEN_AT_LEAST: i64 = 25;

fn orders(round: usize) -> Vec<NewOrder> {
    let line = |sku: &str, quantity| Line { sku: sku.to_owned(), quantity, unit_price_minor: 250 };
    (0..ORDERS_A_ROUND)
        .map(|number| NewOrder {
            invoice: format!("{round}-{number}"),
            customer_id: format!("customer-{}", number % 10),
            lines: vec![line("TEAPOT", 1), line(&format!("SKU {}", number % 20), 2)],
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_while_orders_are_open_every_order_is_confirmed_once() -> anyhow::Result<()> {
    let system = System::start().await;
    system.replenish("TEAPOT", 1_000_000).await?;
    for number in 0..20 {
        system.replenish(&format!("SKU {number}"), 1_000_000).await?;
    }
    let client = system.client(ServiceName::Order)?;
    let pace = Pace { concurrency: 32, timeout: ENDS_WITHIN };
    let progress = Arc::new(Progress::default());
    for (round, service) in ServiceName::ALL.into_iter().enumerate() {
        let killing = async {
            let open = eventually("enough orders are open", ENDS_WITHIN, async || {
                let open = system.open_orders().await.unwrap_or_default();
                if open >= OPEN_AT_LEAST { Ok(open) } else { Err(open) }
            })
            .await;
            println!("kill -9 {service} while {open} orders are open");
            assert!(system.stack().watch(service).kill());
        };
        tokio::join!(place(&client, orders(round), pace, &progress), killing);
    }
    let placing_done = CancellationToken::new();
    placing_done.cancel();
    assert!(watch(&client, &progress, &placing_done, ENDS_WITHIN * 2).await, "{:?}", progress.snapshot());

    let books = progress.snapshot();
    let expected = u64::try_from(ORDERS_A_ROUND * ServiceName::ALL.len())?;
    assert_eq!((books.accepted, books.rejected, books.unknown), (expected, 0, 0), "{:?}", books.errors);
    assert_eq!(books.ends.get("confirmed"), Some(&expected), "{:?}", books.ends);
    for service in ServiceName::ALL {
        assert!(system.stack().watch(service).deaths() >= 1, "{service} was not killed");
    }
    system.stack().wait_until_ready(Duration::from_secs(60)).await?;
    let report = system.verify().await?;
    println!("{report}");
    assert!(report.holds(), "{report}");
    system.stop().await
}
