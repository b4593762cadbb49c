//! `tidings load`: a steady trickle of the demo's orders, until it is stopped or nothing answers any more.

use std::convert::Infallible;
use std::time::Duration;

use contracts::clock;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};
use uuid::Uuid;

use crate::client::{Answer, Client};
use crate::demo::orders::{self, Plan};
use crate::output;
use crate::services::ServiceName;
use crate::up::StopSignals;

/// The pause before a request whose outcome is unknown is repeated.
const REPEAT_AFTER: Duration = Duration::from_millis(500);
/// How long a service may not answer before its first answer: its address may be wrong.
pub const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a service that has answered before may not answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// How often the figures are printed.
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
    /// How long one request may be without an answer; [`FIRST_ANSWER_TIMEOUT`] and [`ANSWER_TIMEOUT`] if nothing is said.
    pub give_up_after: Option<Duration>,
}

/// A service that did not answer for too long.
#[derive(Debug, thiserror::Error)]
#[error(
    "{service} at {url} did not answer for {} s, so the outcome of a request is unknown; start it (tidings up), or name its URL ({figures}): \
     {reason}",
    bound.as_secs_f64()
)]
pub struct GaveUp {
    service: ServiceName,
    url: String,
    bound: Duration,
    figures: Figures,
    reason: String,
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

/// Places orders until SIGINT, SIGTERM or the end of `duration`. A service that does not answer is asked again, so that every
/// order's outcome is known.
///
/// # Errors
/// When a URL is none, signals can't be handled, or a service does not answer for too long ([`GaveUp`]).
pub async fn run(options: &Options) -> anyhow::Result<Figures> {
    let mut stop = StopSignals::listen()?;
    let target =
        |service, url| anyhow::Ok(Target { service, client: Client::try_new(url)?, has_answered: false });
    let mut load = Load {
        order: target(ServiceName::Order, &options.order_url)?,
        inventory: target(ServiceName::Inventory, &options.inventory_url)?,
        run: clock::new_id(),
        figures: Figures::default(),
        give_up_after: options.give_up_after,
    };
    let pace = Duration::from_secs_f64(1.0 / options.rate);
    let end = options.duration.unwrap_or(Duration::MAX);
    tokio::select! {
        Err(gave_up) = load.place_for_ever(pace) => return Err(gave_up.into()),
        () = stop.received() => {}
        () = sleep(end) => {}
    }
    Ok(load.figures)
}

/// A service that is asked.
struct Target {
    service: ServiceName,
    client: Client,
    has_answered: bool,
}

struct Load {
    order: Target,
    inventory: Target,
    /// Part of every idempotency key, so that another run places orders of its own.
    run: Uuid,
    figures: Figures,
    give_up_after: Option<Duration>,
}

impl Load {
    async fn place_for_ever(&mut self, pace: Duration) -> Result<Infallible, GaveUp> {
        let plans = orders::plans();
        let mut ticks = interval(pace);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reported = Instant::now();
        let mut number = 0;
        loop {
            ticks.tick().await;
            if number % plans.len() == 0 {
                self.replenish(number).await?;
            }
            self.place(number, plans[number % plans.len()]).await?;
            number += 1;
            if reported.elapsed() >= REPORT_EVERY {
                // Whoever reads the figures is not needed for the load.
                let _ = output::line(&self.figures);
                reported = Instant::now();
            }
        }
    }

    /// As much of each SKU as one round of orders takes, except of the rare one: asking for that is how an order runs
    /// out of stock.
    async fn replenish(&mut self, number: usize) -> Result<(), GaveUp> {
        let plans = orders::plans();
        for (sku, _) in orders::STOCK {
            let wanted = orders::wanted(&plans, sku);
            if wanted > 0 {
                let key = format!("load-{}-{number}-{sku}", self.run);
                let ask = async |inventory: &Client| inventory.replenish(sku, &key, wanted as u64).await;
                until_known(&mut self.inventory, ask, self.give_up_after, &mut self.figures).await?;
            }
        }
        Ok(())
    }

    async fn place(&mut self, number: usize, plan: Plan) -> Result<(), GaveUp> {
        let key = format!("load-{}-{number}", self.run);
        let request = orders::request(number, plan);
        let ask = async |order: &Client| order.place_order(&key, &request).await;
        let placed = until_known(&mut self.order, ask, self.give_up_after, &mut self.figures).await?;
        let Some(placed) = placed else {
            self.figures.rejected += 1;
            return Ok(());
        };
        self.figures.accepted += 1;
        if plan == Plan::Cancelled {
            let path = format!("/orders/{}/cancellation", placed.order_id);
            // Rejected when the order has ended before: that is an end, too.
            let key = format!("{key}-cancel");
            let ask = async |order: &Client| order.post::<Value>(&path, &key, &json!({})).await;
            until_known(&mut self.order, ask, self.give_up_after, &mut self.figures).await?;
        }
        Ok(())
    }
}

/// Repeats a request until its outcome is known; none when it was rejected.
async fn until_known<T>(
    target: &mut Target,
    ask: impl AsyncFn(&Client) -> Answer<T>,
    give_up_after: Option<Duration>,
    figures: &mut Figures,
) -> Result<Option<T>, GaveUp> {
    let usual = if target.has_answered { ANSWER_TIMEOUT } else { FIRST_ANSWER_TIMEOUT };
    let bound = give_up_after.unwrap_or(usual);
    let deadline = Instant::now() + bound;
    let mut last_error = None;
    loop {
        let answer = timeout_at(deadline, ask(&target.client)).await;
        let reason = match answer {
            Ok(Answer::Done { body, .. }) => {
                target.has_answered = true;
                return Ok(Some(body));
            }
            Ok(Answer::Rejected(why)) => {
                target.has_answered = true;
                output::diagnostic(&format_args!("rejected: {why}"));
                return Ok(None);
            }
            Ok(Answer::Unknown(why)) => why,
            Err(_) => last_error.clone().unwrap_or_else(|| "no answer".to_owned()),
        };
        if Instant::now() + REPEAT_AFTER >= deadline {
            let (service, url) = (target.service, target.client.shown());
            return Err(GaveUp { service, url, bound, figures: *figures, reason });
        }
        if last_error.is_none() {
            output::diagnostic(&format_args!("no answer from {}, asking again: {reason}", target.service));
        }
        last_error = Some(reason);
        figures.repeated += 1;
        sleep(REPEAT_AFTER).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::Router;
    use axum::http::StatusCode;
    use embedded::ports::ReservedPort;
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    fn options(url: &str) -> Options {
        Options {
            order_url: url.to_owned(),
            inventory_url: url.to_owned(),
            rate: 100.0,
            duration: Some(Duration::from_secs(60)),
            give_up_after: Some(Duration::from_secs(2)),
        }
    }

    async fn gives_up(url: &str) -> String {
        let started = Instant::now();
        let error = run(&options(url)).await.unwrap_err().to_string();
        assert!(started.elapsed() < Duration::from_secs(60), "it ended by itself: {error}");
        error
    }

    async fn server(tasks: &mut JoinSet<()>, app: Router) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
        url
    }

    #[tokio::test]
    async fn it_gives_up_with_the_reason_where_nothing_listens() {
        let port = ReservedPort::reserve(0).unwrap();
        let url = format!("http://{}", port.address());
        let error = gives_up(&url).await;
        assert!(error.contains(&format!("inventory at {url} did not answer for 2 s")), "{error}");
        assert!(error.contains("Connection refused"), "{error}");
    }

    #[tokio::test]
    async fn it_gives_up_with_the_reason_where_only_errors_are_answered() {
        let mut tasks = JoinSet::new();
        let url = server(&mut tasks, Router::new().fallback(StatusCode::SERVICE_UNAVAILABLE)).await;
        assert!(gives_up(&url).await.contains("503 Service Unavailable"));
    }

    #[tokio::test]
    async fn it_gives_up_where_a_connection_is_never_answered() {
        let mut tasks = JoinSet::new();
        let app = Router::new().fallback(std::future::pending::<()>);
        let url = server(&mut tasks, app).await;
        assert!(gives_up(&url).await.contains("no answer"));
    }

    #[tokio::test]
    async fn a_service_that_answers_again_is_asked_on() {
        static ASKED: AtomicU32 = AtomicU32::new(0);
        let mut tasks = JoinSet::new();
        let app = Router::new().fallback(async || match ASKED.fetch_add(1, Ordering::SeqCst) {
            0 => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::NOT_FOUND,
        });
        let url = server(&mut tasks, app).await;
        let options = Options {
            duration: Some(Duration::from_secs(3)),
            give_up_after: Some(Duration::from_secs(60)),
            ..options(&url)
        };
        let figures = run(&options).await.unwrap();
        assert!(figures.rejected > 0, "{figures}");
        assert_eq!(figures.repeated, 1);
    }
}
