//! The loop: lease what is due, perform it, record what became of it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::calls::{Calls, Ended};
use super::held::HeldPlaces;
use super::pause::{Allowed, Pause};
use super::record::record;
use super::reservations::{Reservations, Reserved};
use super::{Contact, LeasedWork, Settings};
use crate::{Progress, Worker};

/// The pause before items are looked for again that are due and could not be taken: somebody else holds them, or no place is
/// free, or the worker is paused.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Does leased work. Any number of them may run, in any number of processes.
#[derive(Debug)]
pub struct LeaseWorker<W: LeasedWork> {
    work: Arc<W>,
    wake: Arc<Notify>,
    settings: Settings,
    pause: Pause,
    places: HeldPlaces,
    reservations: Reservations<W::Item>,
    reserved: mpsc::Receiver<Reserved<W::Item>>,
}

/// While it lives, places can be reserved when the worker lets them.
struct Reservable<'a>(&'a HeldPlaces);

impl Drop for Reservable<'_> {
    fn drop(&mut self) {
        self.0.let_reserve(false);
    }
}

impl<W: LeasedWork> LeaseWorker<W> {
    /// A worker that looks for items when `wake` says so, and from time to time.
    pub fn new(work: W, wake: Arc<Notify>, settings: Settings) -> Self {
        let places = HeldPlaces::new(settings.concurrency);
        let (reservations, reserved) = Reservations::of(places.clone(), settings.concurrency);
        let pause = Pause::new(settings.cool_down);
        Self { work: Arc::new(work), wake, settings, pause, places, reservations, reserved }
    }

    /// Reserves places of this worker.
    pub fn reservations(&self) -> Reservations<W::Item> {
        self.reservations.clone()
    }

    /// Leases what may be taken now; says whether more may be due.
    async fn take(&mut self, calls: &mut Calls<W>, progress: &Progress) -> anyhow::Result<bool> {
        let free = self.settings.concurrency.saturating_sub(calls.len());
        let allowed = self.pause.allows(free, calls.len(), Instant::now());
        let (limit, mut room) = match allowed {
            Allowed::Any(limit) => (limit, calls.room(limit)),
            Allowed::OfOthers(limit) => (limit, calls.room(limit).for_others_than(self.pause.concerned())),
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
        for ended in ended {
            self.pause.record(ended.contact, &ended.holders(), Instant::now());
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

fn outcomes<O>(ended: &mut [Ended<O>]) -> Vec<O> {
    ended.iter_mut().filter_map(|ended| ended.outcome.take()).collect()
}

#[async_trait]
impl<W: LeasedWork> Worker for LeaseWorker<W> {
    fn name(&self) -> &'static str {
        self.work.name()
    }

    async fn run(&mut self, progress: Progress, shutdown: CancellationToken) -> anyhow::Result<()> {
        self.work.prepare().await?;
        // Leases of the last run end by themselves, like those of its calls.
        while self.reserved.try_recv().is_ok() {}
        let places = self.places.clone();
        let reservable = Reservable(&places);
        let mut calls = Calls::new(Arc::clone(&self.work), places.clone());
        let mut look_at = Instant::now();
        let mut more = true;
        while !shutdown.is_cancelled() {
            let free = self.settings.concurrency.saturating_sub(calls.len());
            if more && free * 4 >= self.settings.concurrency {
                more = self.take(&mut calls, &progress).await?;
                look_at = self.next_look(more).await?;
            }
            // Nothing new comes before older items that wait.
            places.let_reserve(!more && self.pause.reason().is_none());
            tokio::select! {
                () = shutdown.cancelled() => {}
                Some(mut ended) = calls.next() => {
                    self.hear(&ended, &progress);
                    let go_on = !shutdown.is_cancelled() && self.pause.reason().is_none();
                    let outcomes = outcomes(&mut ended);
                    let next = record(&*self.work, &outcomes, go_on, self.settings.record_timeout).await?;
                    calls.start(next);
                    // What is tried again is due earlier than its lease ended.
                    look_at = look_at.min(Instant::now() + LOOK_AGAIN);
                }
                Some(reserved) = self.reserved.recv() => calls.start_in(reserved),
                () = self.wake.notified() => more = true,
                () = sleep_until(look_at) => {
                    more = true;
                    look_at = Instant::now() + LOOK_AGAIN.min(self.settings.poll_interval);
                }
            }
        }
        drop(reservable);
        // What a transaction under way leases in a place of this worker is performed.
        self.reserved.close();
        loop {
            tokio::select! {
                Some(mut ended) = calls.next() => {
                    record(&*self.work, &outcomes(&mut ended), false, self.settings.record_timeout).await?;
                }
                Some(reserved) = self.reserved.recv() => calls.start_in(reserved),
                else => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests;
