//! The loop: lease what is due, perform it, record what became of it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::calls::{Calls, Ended};
use super::pause::{Allowed, Pause};
use super::record::record;
use super::{Contact, LeasedWork, Settings};
use crate::{Progress, Worker};

/// The pause before items are looked for again that are due and could not be taken: somebody else holds them, or no place is
/// free, or the worker is paused.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

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
        // An item, also one that waits for another attempt, is no sign of health while calls have no answer.
        let is_idle = items.is_empty() && calls.is_empty();
        if is_idle && !(self.pause.is_unanswered() && self.work.next_due_in().await?.is_some()) {
            progress.idle();
        }
        let is_full = items.len() == limit && limit > 0;
        calls.start(items);
        // Further items of whoever has its share become due when one of its calls ends.
        Ok(is_full || room.has_full())
    }

    /// When to look again, if nothing wakes the worker before.
    async fn next_look(&self, more: bool) -> anyhow::Result<Instant> {
        let next_due_in = if more { Some(Duration::ZERO) } else { self.work.next_due_in().await? };
        let pause = match next_due_in {
            Some(Duration::ZERO) => LOOK_AGAIN,
            Some(_) if self.pause.reason().is_some() => LOOK_AGAIN,
            Some(due_in) => due_in,
            None => self.settings.poll_interval,
        };
        Ok(Instant::now() + pause.min(self.settings.poll_interval))
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
        let mut look_at = Instant::now();
        let mut more = true;
        while !shutdown.is_cancelled() {
            let free = self.settings.concurrency.saturating_sub(calls.len());
            if more && free * 4 >= self.settings.concurrency {
                more = self.take(&mut calls, &progress).await?;
                look_at = self.next_look(more).await?;
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                Some(ended) = calls.next() => {
                    self.hear(&ended, &progress);
                    let go_on = !shutdown.is_cancelled() && self.pause.reason().is_none();
                    let next = record(&*self.work, &outcomes(ended), go_on, self.settings.record_timeout).await?;
                    calls.start(next);
                    // What is tried again is due earlier than its lease ended.
                    look_at = look_at.min(Instant::now() + LOOK_AGAIN);
                }
                () = self.wake.notified() => more = true,
                () = sleep_until(look_at) => {
                    more = true;
                    look_at = Instant::now() + LOOK_AGAIN.min(self.settings.poll_interval);
                }
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
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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

        async fn next_due_in(&self) -> anyhow::Result<Option<Duration>> {
            self.0.asked.fetch_add(1, Ordering::SeqCst);
            Ok((!self.0.is_done.load(Ordering::SeqCst)).then_some(Duration::ZERO))
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

    /// One item, due after a while.
    #[derive(Debug, Default)]
    struct Scheduled {
        due_at: Mutex<Option<Instant>>,
        looks: AtomicUsize,
        done_at: Mutex<Option<Instant>>,
    }

    struct OnTime(Arc<Scheduled>);

    #[async_trait]
    impl LeasedWork for OnTime {
        type Item = ();
        type Outcome = ();

        fn name(&self) -> &'static str {
            "scheduled"
        }

        fn table(&self) -> &'static str {
            "items"
        }

        async fn lease(&self, _: usize) -> anyhow::Result<Vec<()>> {
            self.0.looks.fetch_add(1, Ordering::SeqCst);
            let due = self.0.due_at.lock().unwrap().take_if(|due_at| *due_at <= Instant::now());
            Ok(due.map(|_| ()).into_iter().collect())
        }

        async fn next_due_in(&self) -> anyhow::Result<Option<Duration>> {
            let due_at = *self.0.due_at.lock().unwrap();
            Ok(due_at.map(|due_at| due_at.saturating_duration_since(Instant::now())))
        }

        async fn perform(self: Arc<Self>, (): ()) -> (Contact, ()) {
            *self.0.done_at.lock().unwrap() = Some(Instant::now());
            (Contact::Answered, ())
        }

        async fn record(&self, _: &[()], _: bool) -> anyhow::Result<Vec<()>> {
            Ok(Vec::new())
        }
    }

    #[tokio::test]
    async fn what_becomes_due_is_done_at_its_time_and_not_looked_for_before() {
        let (work, began) = (Arc::new(Scheduled::default()), Instant::now());
        let due_at = began + Duration::from_millis(700);
        *work.due_at.lock().unwrap() = Some(due_at);
        // Twice as long as the test waits.
        let settings = Settings { poll_interval: WAIT_TIMEOUT * 2, ..SETTINGS };
        let mut worker = LeaseWorker::new(OnTime(Arc::clone(&work)), Arc::default(), settings);
        let (shutdown, mut running) = (CancellationToken::new(), JoinSet::new());
        let stop = shutdown.clone();
        running.spawn(async move { worker.run(Progress::new("scheduled"), stop).await.unwrap() });
        until("it is done", || work.done_at.lock().unwrap().is_some()).await;
        let done_at = work.done_at.lock().unwrap().unwrap();
        assert!(done_at >= due_at, "{work:?}");
        assert!(work.looks.load(Ordering::SeqCst) <= 4, "{work:?}");
        shutdown.cancel();
        running.join_all().await;
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
