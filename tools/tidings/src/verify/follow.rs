//! `tidings verify --follow`: orders are compared within seconds of each new record, and all of them again and again.
//!
//! It begins with a verification of everything, which folds the orders of which nothing more comes into exact sums. From then on
//! a round a second reads what is new on the topics and compares every open order. Beside it a scrub compares everything anew,
//! at a set rate.

mod cycle;
mod moment;
mod round;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use contracts::{Codec, ambient};
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
/// How often is said how far it is.
const SAY_STATE: Duration = Duration::from_secs(10);
/// How many violations may wait to be said; more are found again by the next round or cycle.
const WAITING: usize = 10_000;
/// How many violations are remembered, so that each is said once.
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

/// Something to be said.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Said {
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
    BeginsAgain {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation(Violation { guarantee, finding, .. }) => {
                write!(f, "{guarantee} violated: {finding}")
            }
            Self::State(state) => state.fmt(f),
            Self::Unreadable { error } => write!(f, "can't be read, tried again: {error}"),
            Self::Readable => f.write_str("can be read again"),
            Self::BeginsAgain { reason } => write!(f, "everything is read once more: {reason}"),
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
        Ok(())
    }
}

/// With the moment at which it was said.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    #[serde(flatten)]
    pub said: Said,
}

/// Compares until it is told to stop, and hands on what is to be said. Gives the number of violations.
///
/// # Errors
/// When everything can't be read the first time.
pub async fn run(
    target: &Target,
    options: Options,
    stop: &CancellationToken,
    say: impl FnMut(Line),
) -> anyhow::Result<u64> {
    let codec = super::codec(target).await?;
    let (told, violations) = mpsc::channel(WAITING);
    let (rounds_say, from_rounds) = mpsc::channel(1);
    let mut teller = Teller { say, state: State::default(), seen: HashMap::new(), unreadable: None };
    let result = tokio::select! {
        () = stop.cancelled() => Ok(()),
        result = rounds(target, &codec, options, &told, &rounds_say) => result,
        () = teller.tell(violations, from_rounds) => Ok(()),
    };
    teller.say_state();
    result.map(|()| teller.state.violations)
}

async fn rounds(
    target: &Target,
    codec: &Arc<Codec>,
    options: Options,
    told: &mpsc::Sender<Violation>,
    say: &mpsc::Sender<anyhow::Result<Round>>,
) -> anyhow::Result<()> {
    let mut known = Rounds::begin(target, codec, options, told).await?;
    loop {
        let started = Instant::now();
        let round = timeout(ROUND_TIMEOUT, known.next()).await;
        let round = round.with_context(|| format!("no answer within {ROUND_TIMEOUT:?}")).flatten();
        let begins_again = matches!(round, Ok(Round::BeginAgain(_)));
        let _ = say.send(round).await;
        if begins_again {
            known = loop {
                sleep(PAUSE).await;
                match Rounds::begin(target, codec, options, told).await {
                    Ok(known) => break known,
                    Err(error) => drop(say.send(Err(error)).await),
                }
            };
        }
        sleep_until(started + ROUND).await;
    }
}

/// Says each violation once, and how far it is from time to time.
struct Teller<S> {
    say: S,
    state: State,
    /// What was said, with the last cycle of the scrub in which it was found.
    seen: HashMap<Violation, u64>,
    unreadable: Option<String>,
}

impl<S: FnMut(Line)> Teller<S> {
    async fn tell(
        &mut self,
        mut violations: mpsc::Receiver<Violation>,
        mut rounds: mpsc::Receiver<anyhow::Result<Round>>,
    ) {
        let mut said_at = None;
        loop {
            tokio::select! {
                biased;
                Some(violation) = violations.recv() => self.violation(violation),
                Some(round) = rounds.recv() => {
                    self.round(round);
                    if said_at.is_none_or(|at: Instant| at.elapsed() >= SAY_STATE) {
                        self.say_state();
                        said_at = Some(Instant::now());
                    }
                }
                else => return,
            }
        }
    }

    fn say(&mut self, said: Said) {
        (self.say)(Line { at: ambient::now(), said });
    }

    fn violation(&mut self, violation: Violation) {
        let cycle = self.state.scrub.cycle;
        if self.seen.len() >= REMEMBERED {
            // What nobody has found for a whole cycle is no more.
            self.seen.retain(|_, found| *found + 1 >= cycle);
        }
        if self.seen.insert(violation.clone(), cycle).is_none() {
            self.state.violations += 1;
            self.say(Said::Violation(violation));
        }
    }

    fn round(&mut self, round: anyhow::Result<Round>) {
        if round.is_ok() && self.unreadable.take().is_some() {
            self.say(Said::Readable);
        }
        match round {
            Ok(Round::Compared(figures)) => {
                self.state.records += figures.records;
                (self.state.ended, self.state.open) = (figures.ended, figures.open);
                self.state.scrub = figures.scrub;
                self.state.latency_ms = figures.latency_ms.or(self.state.latency_ms);
            }
            Ok(Round::BeginAgain(reason)) => self.say(Said::BeginsAgain { reason }),
            Err(error) => {
                let error = format!("{error:#}");
                if self.unreadable.as_ref() != Some(&error) {
                    self.unreadable = Some(error.clone());
                    self.say(Said::Unreadable { error });
                }
            }
        }
    }

    fn say_state(&mut self) {
        self.say(Said::State(self.state.clone()));
    }
}
