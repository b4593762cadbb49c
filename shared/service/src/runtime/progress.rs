//! Progress of workers, watched: one that neither completes anything nor finds nothing to do is stalled.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contracts::clock;
use metrics::gauge;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How often workers are looked at, at most.
const EVERY: Duration = Duration::from_secs(1);

/// Where a worker reports that it goes on. Cheap to clone.
///
/// A worker that reports neither [`moved`](Self::moved) nor [`idle`](Self::idle) for `consumer.stalled_after_ms` (30 s) is shown
/// as stalled, also one that never reports: it has work that does not move, or hangs.
#[derive(Clone, Debug)]
pub struct Progress(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    worker: &'static str,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When it moved or was idle.
    reported: Instant,
    shown: Shown,
}

/// What health shows of a worker, if there is anything to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// It failed and is about to be started again.
    pub(crate) failure: Option<String>,
    /// Since when it is stalled.
    pub(crate) stalled: Option<String>,
    /// Why it takes no work.
    pub(crate) paused: Option<String>,
}

impl Progress {
    /// The progress of a worker that begins now.
    pub fn new(worker: &'static str) -> Self {
        let state = State { reported: Instant::now(), shown: Shown::default() };
        Self(Arc::new(Inner { worker, state: Mutex::new(state) }))
    }

    /// Something was completed: also by an answer that refuses it.
    pub fn moved(&self) {
        self.report(Instant::now());
    }

    /// The worker has looked, and nothing is due.
    pub fn idle(&self) {
        self.report(Instant::now());
    }

    /// The worker takes no work for this reason, until it [resumes](Self::resume).
    pub fn pause(&self, reason: String) {
        if self.lock().shown.paused.replace(reason).is_none() {
            gauge!("worker_paused", "worker" => self.0.worker).set(1.0);
        }
    }

    /// The worker takes work again.
    pub fn resume(&self) {
        if self.lock().shown.paused.take().is_some() {
            gauge!("worker_paused", "worker" => self.0.worker).set(0.0);
        }
    }

    /// When it moved or was idle last.
    pub fn reported(&self) -> Instant {
        self.lock().reported
    }

    pub(crate) fn worker(&self) -> &'static str {
        self.0.worker
    }

    pub(crate) fn shown(&self) -> Shown {
        self.lock().shown.clone()
    }

    pub(super) fn failed(&self, failure: Option<String>) {
        self.lock().shown.failure = failure;
    }

    /// Begins the series, whose absence would hide an alert.
    pub(super) fn begin(&self) {
        gauge!("worker_stalled", "worker" => self.0.worker).set(0.0);
        gauge!("worker_paused", "worker" => self.0.worker).set(0.0);
    }

    fn report(&self, now: Instant) {
        self.lock().reported = now;
    }

    /// Compares what was reported last with the time that is now.
    pub(crate) fn look(&self, stalled_after: Duration, now: Instant) {
        let worker = self.0.worker;
        let mut state = self.lock();
        let silent_for = now.saturating_duration_since(state.reported);
        let is_stalled = silent_for >= stalled_after;
        match (is_stalled, &state.shown.stalled) {
            (true, None) => {
                let since = (clock::now() - silent_for).to_string();
                tracing::error!(worker, since, "worker stalled: it has work and completes none");
                gauge!("worker_stalled", "worker" => worker).set(1.0);
                state.shown.stalled = Some(since);
            }
            (false, Some(since)) => {
                tracing::info!(worker, since, "worker moves again");
                gauge!("worker_stalled", "worker" => worker).set(0.0);
                state.shown.stalled = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at all workers until `shutdown`, in a task that no worker can hold up.
pub(super) async fn watch(workers: Vec<Progress>, stalled_after: Duration, shutdown: CancellationToken) {
    let every = (stalled_after / 4).clamp(Duration::from_millis(10), EVERY);
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            now = ticks.tick() => workers.iter().for_each(|progress| progress.look(stalled_after, now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

    /// A worker that reports at `reports`, in seconds, and is looked at every ten seconds: at which it is stalled.
    fn stalled_at(reports: &[u64], until: u64) -> Vec<u64> {
        let progress = Progress::new("worker");
        let began = Instant::now();
        let at = |second| began + Duration::from_secs(second);
        progress.report(began);
        let mut stalled = Vec::new();
        for second in 0..=until {
            if reports.contains(&second) {
                progress.report(at(second));
            }
            if second.is_multiple_of(10) {
                progress.look(WAIT_TIMEOUT, at(second));
                stalled.extend(progress.shown().stalled.map(|_| second));
            }
        }
        stalled
    }

    #[test]
    fn a_worker_that_never_reports_is_stalled() {
        assert_eq!(stalled_at(&[], 50), [30, 40, 50]);
    }

    #[test]
    fn a_report_ends_the_stall() {
        assert_eq!(stalled_at(&[45], 100), [30, 40, 80, 90, 100]);
    }

    #[test]
    fn a_worker_that_keeps_reporting_is_never_stalled() {
        assert_eq!(stalled_at(&[20, 40, 60, 80], 100), Vec::<u64>::new());
    }
}
