//! `tidings load`: a steady trickle of the demo's orders, until somebody stops it.

use std::time::Duration;

use contracts::ambient;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use uuid::Uuid;

use crate::client::{Answer, Client};
use crate::demo::orders::{self, Plan};
use crate::up::StopSignals;

/// The pause before a request whose outcome is unknown is repeated.
const REPEAT_AFTER: Duration = Duration::from_millis(500);
/// How often the figures are told.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// Where to, how much, how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// order's base URL.
    pub order_url: String,
    /// inventory's base URL.
    pub inventory_url: String,
    /// Orders a second.
    pub rate: f64,
    /// When to end by itself.
    pub duration: Option<Duration>,
}

/// What became of the orders sent so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Answered 2xx.
    pub accepted: u64,
    /// Answered 4xx.
    pub rejected: u64,
    /// Requests repeated because their outcome was unknown.
    pub repeated: u64,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} orders accepted, {} rejected", self.accepted, self.rejected)?;
        if self.repeated > 0 { write!(f, "; {} requests repeated", self.repeated) } else { Ok(()) }
    }
}

/// Places orders until SIGINT, SIGTERM or the end of `duration`. A service that does not answer is asked again until
/// it does: what was sent is never given up, so that every order's outcome is known.
///
/// # Errors
/// When a URL is none, or signals can't be heard.
pub async fn run(options: &Options) -> anyhow::Result<Figures> {
    let mut stop = StopSignals::listen()?;
    let mut load = Load {
        order: Client::try_new(&options.order_url)?,
        inventory: Client::try_new(&options.inventory_url)?,
        run: ambient::new_id(),
        figures: Figures::default(),
    };
    let pace = Duration::from_secs_f64(1.0 / options.rate);
    let end = options.duration.unwrap_or(Duration::MAX);
    tokio::select! {
        () = load.place_for_ever(pace) => {}
        () = stop.received() => {}
        () = sleep(end) => {}
    }
    Ok(load.figures)
}

struct Load {
    order: Client,
    inventory: Client,
    /// Part of every idempotency key, so that another run places orders of its own.
    run: Uuid,
    figures: Figures,
}

impl Load {
    async fn place_for_ever(&mut self, pace: Duration) {
        let plans = orders::plans();
        let mut ticks = interval(pace);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reported = Instant::now();
        for number in 0.. {
            ticks.tick().await;
            if number % plans.len() == 0 {
                self.replenish(number).await;
            }
            self.place(number, plans[number % plans.len()]).await;
            if reported.elapsed() >= REPORT_EVERY {
                println!("{}", self.figures);
                reported = Instant::now();
            }
        }
    }

    /// As much of each SKU as one round of orders takes, except of the rare one: asking for that is how an order runs
    /// out of stock.
    async fn replenish(&mut self, number: usize) {
        let plans = orders::plans();
        for (sku, _) in orders::STOCK {
            let wanted = orders::wanted(&plans, sku);
            if wanted > 0 {
                let key = format!("load-{}-{number}-{sku}", self.run);
                let inventory = self.inventory.clone();
                self.until_known(async || inventory.replenish(sku, &key, wanted as u64).await).await;
            }
        }
    }

    async fn place(&mut self, number: usize, plan: Plan) {
        let (order, key) = (self.order.clone(), format!("load-{}-{number}", self.run));
        let request = orders::request(number, plan);
        let Some(placed) = self.until_known(async || order.place_order(&key, &request).await).await else {
            self.figures.rejected += 1;
            return;
        };
        self.figures.accepted += 1;
        if plan == Plan::Cancelled {
            let path = format!("/orders/{}/cancellation", placed.order_id);
            // Rejected when the order has ended before: that is an end, too.
            self.until_known(async || order.post::<Value>(&path, &format!("{key}-cancel"), &json!({})).await)
                .await;
        }
    }

    /// Repeats `attempt` until its outcome is known; none when it was rejected.
    async fn until_known<T>(&mut self, attempt: impl AsyncFn() -> Answer<T>) -> Option<T> {
        let mut is_first = true;
        loop {
            match attempt().await {
                Answer::Done { body, .. } => return Some(body),
                Answer::Rejected(why) => {
                    eprintln!("rejected: {why}");
                    return None;
                }
                Answer::Unknown(why) => {
                    if is_first {
                        eprintln!("no answer yet, asking again: {why}");
                    }
                    is_first = false;
                    self.figures.repeated += 1;
                    sleep(REPEAT_AFTER).await;
                }
            }
        }
    }
}
