//! Outcomes of leased work go to the store together, and each by itself where one of them is refused.

use std::slice;
use std::time::Duration;

use backoff::Backoff;
use database::Verdict;
use tokio::time::Instant;

use super::LeasedWork;
use crate::corrupt_rows;

/// The pauses while the store is away.
const RECORD_AGAIN: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));

/// Stores outcomes, and gives what follows from them. While the store is away they are kept, for so long; after that the
/// leases end. One that is refused for its data is reported and left: its lease ends, and its item is taken again.
pub(super) async fn record<W: LeasedWork>(
    work: &W,
    outcomes: &[W::Outcome],
    go_on: bool,
    keep: Duration,
) -> anyhow::Result<Vec<W::Item>> {
    match record_together(work, outcomes, go_on, keep).await {
        Err(error) if is_of_an_item(&error) => {}
        recorded => return recorded,
    }
    let mut next = Vec::new();
    for outcome in outcomes {
        match record_together(work, slice::from_ref(outcome), go_on, keep).await {
            Ok(items) => next.extend(items),
            Err(error) if is_of_an_item(&error) => {
                corrupt_rows::report(work.table(), &format_args!("{outcome:?}"), error.as_ref());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(next)
}

async fn record_together<W: LeasedWork>(
    work: &W,
    outcomes: &[W::Outcome],
    go_on: bool,
    keep: Duration,
) -> anyhow::Result<Vec<W::Item>> {
    let give_up = Instant::now() + keep;
    let mut failures = 0;
    loop {
        failures += 1;
        let pause = RECORD_AGAIN.pause(failures);
        match work.record(outcomes, go_on).await {
            Ok(next) => return Ok(next),
            Err(error) if is_of_an_item(&error) || Instant::now() + pause >= give_up => return Err(error),
            Err(error) => {
                let (worker, outcomes) = (work.name(), outcomes.len());
                let error = format!("{error:#}");
                tracing::warn!(
                    worker,
                    outcomes,
                    error,
                    "cannot record the outcomes of leased work, will be retried"
                );
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// Whether an item's data is refused, and not the store away or in need of an operator.
fn is_of_an_item(error: &anyhow::Error) -> bool {
    let refusal = error.chain().find_map(|cause| cause.downcast_ref::<sqlx::Error>());
    refusal.is_none_or(|refusal| matches!(database::verdict(refusal), Verdict::Data | Verdict::Unknown))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;

    use super::*;
    use crate::leases::Contact;

    const KEEP: Duration = Duration::from_secs(30);

    /// A store that refuses one item, and is away for its first calls.
    #[derive(Debug, Default)]
    struct Store {
        refused: u32,
        away: Mutex<u32>,
        recorded: Mutex<Vec<u32>>,
    }

    #[async_trait]
    impl LeasedWork for Store {
        type Item = u32;
        type Outcome = u32;

        fn name(&self) -> &'static str {
            "store"
        }

        fn table(&self) -> &'static str {
            "items"
        }

        async fn lease(&self, _: usize) -> anyhow::Result<Vec<u32>> {
            Ok(Vec::new())
        }

        async fn next_due_in(&self) -> anyhow::Result<Option<Duration>> {
            Ok(None)
        }

        async fn perform(self: Arc<Self>, item: u32) -> (Contact, u32) {
            (Contact::Answered, item)
        }

        async fn record(&self, outcomes: &[u32], _: bool) -> anyhow::Result<Vec<u32>> {
            let mut away = self.away.lock().unwrap();
            if *away > 0 {
                *away -= 1;
                return Err(sqlx::Error::PoolTimedOut.into());
            }
            if outcomes.contains(&self.refused) {
                return Err(sqlx::Error::Decode("no such state".into()).into());
            }
            self.recorded.lock().unwrap().extend(outcomes);
            Ok(outcomes.iter().map(|outcome| outcome * 10).collect())
        }
    }

    #[tokio::test]
    async fn an_outcome_that_is_refused_costs_no_other_outcome() {
        let store = Store { refused: 2, ..Store::default() };
        let next = record(&store, &[1, 2, 3], true, KEEP).await.unwrap();
        assert_eq!(next, [10, 30]);
        assert_eq!(*store.recorded.lock().unwrap(), [1, 3]);
    }

    #[tokio::test]
    async fn outcomes_wait_together_for_a_store_that_is_away() {
        let store = Store { away: Mutex::new(3), ..Store::default() };
        assert_eq!(record(&store, &[1, 2], false, KEEP).await.unwrap(), [10, 20]);
        let gone = Store { away: Mutex::new(u32::MAX), ..Store::default() };
        record(&gone, &[1, 2], false, Duration::ZERO).await.unwrap_err();
        assert!(gone.recorded.lock().unwrap().is_empty());
    }
}
