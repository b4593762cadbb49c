//! The handlers of a transaction, in memory: a rejected event leaves the state as it was before it (docs/adr/0016).

use cloudevents::clock;
use uuid::Uuid;

use crate::dead_letters::Blocked;
use crate::error_policy::{HandlerError, Rejection};
use crate::subscriptions::Subscriptions;
use crate::unit_of_work::{Context, Received, UnitOfWork};

/// What the handlers made of the events of a transaction.
pub(crate) struct Decided {
    /// The rejected events, in their order.
    pub(crate) rejected: Vec<(Uuid, Rejection)>,
    /// How many were accepted; the others wait behind a rejected one.
    pub(crate) accepted: usize,
}

/// Passes each event to its handler, in this order, and gives the state that the accepted ones lead to. The state goes back to
/// what it was before an event that is rejected, and later events of its key are not handled: they wait behind it.
///
/// A copy is kept of the state before the first event, and renewed with each rejection: the events accepted since are handled
/// again on the copy. So an event is handled twice at most, and a state is copied once per rejection.
pub(crate) fn handle_all<W: UnitOfWork>(
    mut work: W,
    subscriptions: &Subscriptions<W>,
    events: &[Received<W::Event>],
    keys: &[Option<&[u8]>],
) -> Result<(W, Decided), HandlerError> {
    let now = clock::now();
    let handle = |work: &mut W, received: &Received<W::Event>| {
        subscriptions.handle(work, &received.event, Context { envelope: &received.envelope, now })
    };
    let (mut decided, mut blocked) = (Decided { rejected: Vec::new(), accepted: 0 }, Blocked::default());
    let (mut copy, mut accepted) = (work.clone(), Vec::new());
    for (received, key) in events.iter().zip(keys) {
        if key.is_some_and(|key| blocked.contains(&received.topic, key)) {
            continue;
        }
        let Err(rejection) = handle(&mut work, received) else {
            accepted.push(received);
            decided.accepted += 1;
            continue;
        };
        decided.rejected.push((received.envelope.event_id, rejection));
        key.iter().for_each(|key| blocked.insert(&received.topic, key));
        work = copy;
        for received in accepted.drain(..) {
            handle(&mut work, received).map_err(|rejection| {
                let event_id = received.envelope.event_id;
                HandlerError::Retry(
                    format!("event {event_id} was accepted, then rejected: {rejection}").into(),
                )
            })?;
        }
        copy = work.clone();
    }
    Ok((work, decided))
}
