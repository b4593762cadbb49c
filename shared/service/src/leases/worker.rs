//! The loop: lease what is due, perform it, record what became of it.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::calls::{Calls, Ended};
use super::pause::{Allowed, Pause};
use super::record::record;
use super::{Contact, LeasedWork, Settings};
use crate::{Progress, Worker};

/// Does leased work. Any number of them may run, in any number of processes.
#[derive(Debug)]
pub struct LeaseWorker<W> {
    work: Arc<W>,
    wake: Arc<Notify>,
    settings: Settings,
    pause: Pause,
}

impl<W: LeasedWork> LeaseWorker<W> {
    /// A worker that looks for items when `wake` says so, and from time to time.
    pub fn new(work: W, wake: Arc<Notify>, settings: Settings) -> Self {
        Self { work: Arc::new(work), wake, settings, pause: Pause::new(settings.cool_down) }
    }

    /// Leases what may be taken now; says whether more may be due.
    async fn take(&mut self, calls: &mut Calls<W>, progress: &Progress) -> anyhow::Result<bool> {
        let free = self.settings.concurrency.saturating_sub(calls.len());
        let allowed = self.pause.allows(free, calls.len(), Instant::now());
        let (limit, mut room) = match allowed {
            Allowed::Any(limit) => (limit, calls.room(limit, self.settings.concurrency)),
            Allowed::OfOthers(limit) => {
                let room = calls.room(limit, self.settings.concurrency);
                (limit, room.for_others_than(self.pause.concerned()))
            }
        };
        let items = if limit == 0 { Vec::new() } else { self.work.lease_within(&mut room).await? };
        self.pause.took(allowed, items.len());
        // What waits for a second attempt is not due, and yet no sign of health while calls have no answer.
        let is_idle = items.is_empty() && calls.is_empty();
        if is_idle && !(self.pause.is_unanswered() && self.work.is_waiting().await?) {
            progress.idle();
        }
        let is_full = items.len() == limit && limit > 0;
        calls.start(items);
        // Further items of whoever has its share become due when one of its calls ends.
        Ok(is_full || room.has_full())
    }

    /// Counts what was answered, and takes or leaves further work by it.
    fn hear(&mut self, ended: &[Ended<W::Outcome>], progress: &Progress) {
        let (worker, was_paused) = (self.work.name(), self.pause.reason().is_some());
        for Ended { contact, holders, .. } in ended {
            self.pause.record(*contact, holders, Instant::now());
        }
        if ended.iter().any(|ended| ended.contact != Contact::NoAnswer) {
            progress.moved();
        }
        match self.pause.reason() {
            Some(reason) => {
                if !was_paused {
                    tracing::warn!(worker, reason, "worker paused: its calls are not served");
                }
                progress.pause(reason);
            }
            None => {
                if was_paused {
                    tracing::info!(worker, "worker resumed: its calls are served again");
                }
                progress.resume();
            }
        }
    }
}

fn outcomes<O>(ended: Vec<Ended<O>>) -> Vec<O> {
    ended.into_iter().filter_map(|ended| ended.outcome).collect()
}

#[async_trait]
impl<W: LeasedWork> Worker for LeaseWorker<W> {
    fn name(&self) -> &'static str {
        self.work.name()
    }

    async fn run(&mut self, progress: Progress, shutdown: CancellationToken) -> anyhow::Result<()> {
        self.work.prepare().await?;
        let mut calls = Calls::new(Arc::clone(&self.work));
        let mut poll = tokio::time::interval(self.settings.poll_interval);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut more = true;
        while !shutdown.is_cancelled() {
            let free = self.settings.concurrency.saturating_sub(calls.len());
            if more && free * 4 >= self.settings.concurrency {
                more = self.take(&mut calls, &progress).await?;
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                Some(ended) = calls.next() => {
                    self.hear(&ended, &progress);
                    let go_on = !shutdown.is_cancelled() && self.pause.reason().is_none();
                    let next = record(&*self.work, &outcomes(ended), go_on, self.settings.record_timeout).await?;
                    calls.start(next);
                }
                () = self.wake.notified() => more = true,
                _ = poll.tick() => more = true,
            }
        }
        while let Some(ended) = calls.next().await {
            record(&*self.work, &outcomes(ended), false, self.settings.record_timeout).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::*;

    const SETTINGS: Settings = Settings {
        concurrency: 4,
        call_timeout: Duration::from_secs(1),
        poll_interval: Duration::from_millis(1),
        record_timeout: Duration::from_secs(1),
        cool_down: Duration::from_millis(20),
    };

    const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

    /// Work that is always due, at a system that answers on request.
    #[derive(Debug, Default)]
    struct Endless {
        answers: AtomicBool,
        is_done: AtomicBool,
        asked: AtomicUsize,
        under_way: AtomicUsize,
        most_under_way: AtomicUsize,
    }

    struct Shared(Arc<Endless>);

    #[async_trait]
    impl LeasedWork for Shared {
        type Item = ();
        type Outcome = ();

        fn name(&self) -> &'static str {
            "endless"
        }

        fn table(&self) -> &'static str {
            "items"
        }

        async fn lease(&self, limit: usize) -> anyhow::Result<Vec<()>> {
            let items = if self.0.is_done.load(Ordering::SeqCst) { 0 } else { limit };
            let under_way = self.0.under_way.fetch_add(items, Ordering::SeqCst) + items;
            self.0.most_under_way.fetch_max(under_way, Ordering::SeqCst);
            Ok(vec![(); items])
        }

        async fn is_waiting(&self) -> anyhow::Result<bool> {
            self.0.asked.fetch_add(1, Ordering::SeqCst);
            Ok(!self.0.is_done.load(Ordering::SeqCst))
        }

        async fn perform(self: Arc<Self>, (): ()) -> (Contact, ()) {
            let answers = self.0.answers.load(Ordering::SeqCst);
            (if answers { Contact::Answered } else { Contact::NoAnswer }, ())
        }

        async fn record(&self, outcomes: &[()], _: bool) -> anyhow::Result<Vec<()>> {
            self.0.under_way.fetch_sub(outcomes.len(), Ordering::SeqCst);
            Ok(Vec::new())
        }
    }

    /// Whether nothing was reported since `began`.
    fn is_stalled_since(progress: &Progress, began: Instant) -> bool {
        progress.look(WAIT_TIMEOUT, began + WAIT_TIMEOUT);
        progress.shown().stalled.is_some()
    }

    async fn until(what: &str, holds: impl Fn() -> bool) {
        testkit::wait::eventually(what, WAIT_TIMEOUT, async || if holds() { Ok(()) } else { Err(()) }).await;
    }

    #[tokio::test]
    async fn a_worker_whose_calls_have_no_answer_is_paused_until_one_has_and_is_stalled_while_work_waits() {
        let work = Arc::new(Endless::default());
        let progress = Progress::new("endless");
        let began = Instant::now();
        let mut worker = LeaseWorker::new(Shared(Arc::clone(&work)), Arc::default(), SETTINGS);
        let (shutdown, mut running) = (CancellationToken::new(), JoinSet::new());
        let (theirs, stop) = (progress.clone(), shutdown.clone());
        running.spawn(async move { worker.run(theirs, stop).await.unwrap() });

        until("it is paused", || progress.shown().paused.is_some()).await;
        work.most_under_way.store(0, Ordering::SeqCst);
        let asked = work.asked.load(Ordering::SeqCst);
        until("it looks whether work waits", || work.asked.load(Ordering::SeqCst) > asked + 20).await;
        assert!(work.most_under_way.load(Ordering::SeqCst) <= 1, "{work:?}");
        assert!(is_stalled_since(&progress, began), "{progress:?}");

        // Others have done it all.
        work.is_done.store(true, Ordering::SeqCst);
        until("it is idle", || !is_stalled_since(&progress, began)).await;
        assert!(progress.shown().paused.is_some(), "{progress:?}");

        work.is_done.store(false, Ordering::SeqCst);
        work.answers.store(true, Ordering::SeqCst);
        until("it goes on", || progress.shown().paused.is_none()).await;
        until("it takes all that it may", || {
            work.most_under_way.load(Ordering::SeqCst) == SETTINGS.concurrency
        })
        .await;
        shutdown.cancel();
        running.join_all().await;
    }
}
