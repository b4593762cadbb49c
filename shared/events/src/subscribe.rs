//! Subscriptions by an event's Rust type.

use std::collections::BTreeSet;

use contracts::event::topic_of;
use contracts::{AnyEvent, Event, Topics};
use inbox::{Context, Rejection, Subscriptions, UnitOfWork};

/// One line per subscription: `.on::<OrderPlaced>(...)`.
pub trait Subscribe<W> {
    /// Answers every `E` with `handler`: pure, in memory, first deciding and then changing the unit of work.
    #[must_use]
    fn on<E: Event>(
        self,
        handler: impl Fn(&mut W, &E, Context<'_>) -> Result<(), Rejection> + Send + Sync + 'static,
    ) -> Self;
}

impl<W: UnitOfWork<Event = AnyEvent>> Subscribe<W> for Subscriptions<W> {
    fn on<E: Event>(
        self,
        handler: impl Fn(&mut W, &E, Context<'_>) -> Result<(), Rejection> + Send + Sync + 'static,
    ) -> Self {
        self.on_type(E::TYPE, move |work, any, context| match E::from_any(any) {
            Some(event) => handler(work, event, context),
            None => Err(Rejection::new("wrong_type", format!("{} met as {}", E::TYPE, any.event_type()))),
        })
    }
}

/// The full names of the topics that carry the subscribed events.
pub fn topics_of<W: UnitOfWork>(subscriptions: &Subscriptions<W>, topics: &Topics) -> Vec<String> {
    let subscribed: BTreeSet<_> = subscriptions.event_types().filter_map(topic_of).collect();
    subscribed.into_iter().map(|topic| topics.name(topic)).collect()
}
