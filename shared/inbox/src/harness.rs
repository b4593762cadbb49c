//! Batches of events for the test of a unit of work: one transaction each, without a bus and without the inbox's tables.

use cloudevents::Envelope;
use database::{Database, Operation, Transaction};
use uuid::Uuid;

use crate::effect::{Handled as _, HandledBy};
use crate::error_policy::{HandlerError, Rejection};
use crate::subscriptions::Subscriptions;
use crate::unit_of_work::{Received, UnitOfWork};

/// Applies these events as one batch: load, handlers in this order, store, commit, [`UnitOfWork::after_commit`],
/// [`UnitOfWork::committed`]. The inbox has no part in it: events that were applied before are applied again, and a
/// rejection is the caller's, with everything rolled back.
///
/// # Errors
/// What a consumer would see: [`HandlerError::Rejected`] where it would write a dead letter.
pub async fn apply<W: UnitOfWork>(
    database: &Database,
    subscriptions: &Subscriptions<W>,
    deps: &W::Deps,
    events: Vec<(Envelope, W::Event)>,
) -> Result<(), HandlerError> {
    apply_all(database, subscriptions, deps, events, |rejected| match rejected.first().cloned() {
        Some((event_id, rejection)) => Err(HandlerError::Rejected { event_id, rejection }),
        None => Ok(()),
    })
    .await
}

/// The same as a consumer does it: an event that its handler rejects changes nothing, later ones of its subject wait behind it,
/// and what the others lead to is committed. Gives the rejected events, in order.
///
/// # Errors
/// When the unit of work can't be loaded or stored.
pub async fn apply_accepted<W: UnitOfWork>(
    database: &Database,
    subscriptions: &Subscriptions<W>,
    deps: &W::Deps,
    events: Vec<(Envelope, W::Event)>,
) -> Result<Vec<(Uuid, Rejection)>, HandlerError> {
    apply_all(database, subscriptions, deps, events, |rejected| Ok(rejected.to_vec())).await
}

/// Stores unless `decide` fails, which is given what was rejected.
async fn apply_all<W: UnitOfWork, T>(
    database: &Database,
    subscriptions: &Subscriptions<W>,
    deps: &W::Deps,
    events: Vec<(Envelope, W::Event)>,
    decide: impl FnOnce(&[(Uuid, Rejection)]) -> Result<T, HandlerError>,
) -> Result<T, HandlerError> {
    let events = received(events);
    let keys: Vec<Option<&[u8]>> =
        events.iter().map(|received| Some(received.envelope.subject.as_bytes())).collect();
    let applying = async |mut tx: Transaction| {
        let handled = HandledBy::try_new(&mut tx, subscriptions, deps, &events, &keys).await?;
        let decided = decide(&handled.decided().rejected)?;
        let after_commit = Box::new(handled).store(&mut tx).await?;
        tx.commit().await?;
        Ok::<_, HandlerError>((decided, after_commit))
    };
    let (decided, after_commit) = database.transaction(Operation::Batch, applying).await?;
    after_commit();
    W::committed(deps);
    Ok(decided)
}

fn received<E>(events: Vec<(Envelope, E)>) -> Vec<Received<E>> {
    let one = |(offset, (envelope, event))| Received {
        topic: "test".to_owned(),
        partition: 0,
        offset,
        envelope,
        event,
    };
    (0..).zip(events).map(one).collect()
}

/// All orders in which `items` can arrive: n! of them, also where some are equal.
///
/// ```
/// assert_eq!(inbox::testing::permutations(&["placed", "paid"]), [["placed", "paid"], ["paid", "placed"]]);
/// ```
pub fn permutations<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let beginning_with = |first: usize| {
        let mut rest = items.to_vec();
        let item = rest.remove(first);
        permutations(&rest).into_iter().map(move |mut order| {
            order.insert(0, item.clone());
            order
        })
    };
    (0..items.len()).flat_map(beginning_with).collect()
}

/// All ways to cut `items` into consecutive batches: 2^(n-1) of them.
///
/// ```
/// assert_eq!(inbox::testing::cuts(&[1, 2]), [vec![vec![1, 2]], vec![vec![1], vec![2]]]);
/// ```
pub fn cuts<T: Clone>(items: &[T]) -> Vec<Vec<Vec<T>>> {
    let Some((last, before)) = items.split_last() else { return vec![Vec::new()] };
    let with_last = |batches: Vec<Vec<T>>| {
        let (mut joined, mut apart) = (batches.clone(), batches);
        apart.push(vec![last.clone()]);
        match joined.last_mut() {
            Some(batch) => {
                batch.push(last.clone());
                vec![joined, apart]
            }
            None => vec![apart],
        }
    };
    cuts(before).into_iter().flat_map(with_last).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_order_and_every_cut_is_there_once() {
        for length in 0..=5_usize {
            let items: Vec<usize> = (0..length).collect();
            let orders: BTreeSet<_> = permutations(&items).into_iter().collect();
            assert_eq!(orders.len(), (1..=length).product::<usize>());
            let cuts: BTreeSet<_> = cuts(&items).into_iter().collect();
            assert_eq!(cuts.len(), 1 << length.saturating_sub(1));
            assert!(cuts.iter().all(|cut| cut.concat() == items && !cut.contains(&Vec::new())));
        }
    }
}
