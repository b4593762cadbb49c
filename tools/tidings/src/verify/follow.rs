//! `tidings verify --follow`: orders are compared within seconds of each new record, and all of them again and again.
//!
//! It begins with a verification of everything, which folds the orders of which nothing more comes into exact sums. From then on
//! a round a second reads what is new on the topics and compares every open order. Beside it a scrub compares everything anew,
//! at a set rate.

mod cycle;
mod moment;
mod round;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use contracts::{Codec, clock};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use self::round::{Round, Rounds};
use super::Target;
use super::report::Violation;
use crate::text::thousands;

/// How often new records are looked for.
const ROUND: Duration = Duration::from_secs(1);
/// How long a round may take before its connections are given up.
const ROUND_TIMEOUT: Duration = Duration::from_secs(60);
/// The pause before everything is read once more.
const PAUSE: Duration = Duration::from_secs(10);
/// How often the state is reported.
const STATE_EVERY: Duration = Duration::from_secs(10);
/// How many violations may wait to be reported; more are found again by the next round or cycle.
const WAITING: usize = 10_000;
/// How many violations are remembered, so that each is reported once.
const REMEMBERED: usize = 100_000;

/// How to follow.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many orders a second the scrub compares.
    pub scrub_rate: u32,
}

/// How far the scrub is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Scrub {
    /// The number of its cycle, from 1.
    pub cycle: u64,
    /// How many orders there were when it began.
    pub orders: u64,
    /// How many of them it has compared.
    pub compared: u64,
    /// How many seconds a full cycle takes at its rate.
    pub cycle_seconds: f64,
    /// How many seconds the last full cycle took.
    pub last_cycle_seconds: Option<f64>,
    /// How many cycles were completed.
    pub completed: u64,
}

/// What was compared so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct State {
    /// Orders that have ended, with everything that follows from it.
    pub ended: u64,
    /// Orders that go on.
    pub open: u64,
    /// Records that came since the beginning.
    pub records: u64,
    /// Violations since the beginning, each counted once.
    pub violations: u64,
    /// How many milliseconds after it was written the last record was compared that waited longest in its round.
    pub latency_ms: Option<i64>,
    /// How far the scrub is.
    pub scrub: Scrub,
}

/// What a follower reports.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Update {
    /// A guarantee is violated.
    Violation(Violation),
    /// How far it is.
    State(State),
    /// Something can't be read, and is tried again.
    Unreadable {
        /// What, and why.
        error: String,
    },
    /// It can be read again.
    Readable,
    /// Everything is read once more.
    Restarted {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation(Violation { guarantee, finding, .. }) => {
                write!(f, "{guarantee} violated: {finding}")
            }
            Self::State(state) => state.fmt(f),
            Self::Unreadable { error } => write!(f, "can't be read, tried again: {error}"),
            Self::Readable => f.write_str("can be read again"),
            Self::Restarted { reason } => write!(f, "everything is read once more: {reason}"),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [ended, open, violations] = [self.ended, self.open, self.violations].map(thousands);
        write!(f, "{ended} orders ended, {open} open, {violations} violations")?;
        if let Some(latency_ms) = self.latency_ms {
            write!(f, "; last record compared after {latency_ms} ms")?;
        }
        let Scrub { cycle, orders, compared, cycle_seconds, .. } = self.scrub;
        if cycle > 0 {
            let [compared, orders] = [compared, orders].map(thousands);
            write!(f, "; scrub {cycle}: {compared} of {orders} orders, all in {cycle_seconds:.0} s")?;
        }
        if let Some(seconds) = self.scrub.last_cycle_seconds {
            write!(f, ", the last time in {seconds:.0} s")?;
        }
        Ok(())
    }
}

/// With its time.
#[derive(Clone, Debug, Serialize)]
pub struct TimedUpdate {
    /// The time.
    pub at: DateTime<Utc>,
    /// The update.
    #[serde(flatten)]
    pub update: Update,
}

/// Compares until `stop` is cancelled, and reports to `output`. Gives the number of violations.
///
/// # Errors
/// When everything can't be read the first time.
pub async fn run(
    target: &Target,
    options: Options,
    stop: &CancellationToken,
    output: impl FnMut(TimedUpdate),
) -> anyhow::Result<u64> {
    let codec = super::codec(target).await?;
    let (found, mut violations) = mpsc::channel(WAITING);
    let (done, rounds_done) = mpsc::channel(1);
    let mut reporter = Reporter { output, state: State::default(), seen: HashSet::new(), unreadable: None };
    let result = tokio::select! {
        () = stop.cancelled() => Ok(()),
        result = rounds(target, &codec, options, &found, &done) => result,
        () = reporter.run(&mut violations, rounds_done) => Ok(()),
    };
    while let Ok(violation) = violations.try_recv() {
        reporter.violation(violation);
    }
    reporter.report_state();
    result.map(|()| reporter.state.violations)
}

async fn rounds(
    target: &Target,
    codec: &Arc<Codec>,
    options: Options,
    found: &mpsc::Sender<Violation>,
    done: &mpsc::Sender<anyhow::Result<Round>>,
) -> anyhow::Result<()> {
    let mut known = Rounds::begin(target, codec, options, found).await?;
    loop {
        let started = Instant::now();
        let round = timeout(ROUND_TIMEOUT, known.next()).await;
        let round = round.with_context(|| format!("no answer within {ROUND_TIMEOUT:?}")).flatten();
        let restarts = matches!(round, Ok(Round::Restart(_)));
        let _ = done.send(round).await;
        if restarts {
            known = loop {
                sleep(PAUSE).await;
                match Rounds::begin(target, codec, options, found).await {
                    Ok(known) => break known,
                    Err(error) => drop(done.send(Err(error)).await),
                }
            };
        }
        sleep_until(started + ROUND).await;
    }
}

/// Reports each violation once, and the state at intervals.
struct Reporter<S> {
    output: S,
    state: State,
    /// What was reported.
    seen: HashSet<Violation>,
    unreadable: Option<String>,
}

impl<S: FnMut(TimedUpdate)> Reporter<S> {
    async fn run(
        &mut self,
        violations: &mut mpsc::Receiver<Violation>,
        mut rounds: mpsc::Receiver<anyhow::Result<Round>>,
    ) {
        let mut reported_at = None;
        loop {
            tokio::select! {
                biased;
                Some(violation) = violations.recv() => self.violation(violation),
                Some(round) = rounds.recv() => {
                    self.round(round);
                    if reported_at.is_none_or(|at: Instant| at.elapsed() >= STATE_EVERY) {
                        self.report_state();
                        reported_at = Some(Instant::now());
                    }
                }
                else => return,
            }
        }
    }

    fn report(&mut self, update: Update) {
        (self.output)(TimedUpdate { at: clock::now(), update });
    }

    fn violation(&mut self, violation: Violation) {
        if self.seen.len() >= REMEMBERED {
            // Each is reported once more.
            self.seen.clear();
        }
        if self.seen.insert(violation.clone()) {
            self.state.violations += 1;
            self.report(Update::Violation(violation));
        }
    }

    fn round(&mut self, round: anyhow::Result<Round>) {
        let unreadable = match &round {
            Ok(Round::Compared(figures)) if !figures.unread.is_empty() => Some(figures.unread.join("; ")),
            Ok(_) => None,
            Err(error) => Some(format!("{error:#}")),
        };
        if self.unreadable != unreadable {
            self.report(unreadable.clone().map_or(Update::Readable, |error| Update::Unreadable { error }));
            self.unreadable = unreadable;
        }
        match round {
            Ok(Round::Compared(figures)) => {
                self.state.records += figures.records;
                (self.state.ended, self.state.open) = (figures.ended, figures.open);
                self.state.scrub = figures.scrub;
                self.state.latency_ms = figures.latency_ms.or(self.state.latency_ms);
            }
            Ok(Round::Restart(reason)) => self.report(Update::Restarted { reason }),
            Err(_) => {}
        }
    }

    fn report_state(&mut self) {
        self.report(Update::State(self.state.clone()));
    }
}
