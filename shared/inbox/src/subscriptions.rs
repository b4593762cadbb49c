//! Which handler answers which event: one line per subscription.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use cloudevents::Envelope;

use crate::error_policy::Rejection;
use crate::panics::panic_message;
use crate::unit_of_work::{Context, UnitOfWork};

type Handler<W> =
    Box<dyn Fn(&mut W, &<W as UnitOfWork>::Event, Context<'_>) -> Result<(), Rejection> + Send + Sync>;

/// The handlers of one consumer group.
pub struct Subscriptions<W: UnitOfWork> {
    handlers: BTreeMap<&'static str, Handler<W>>,
}

impl<W: UnitOfWork> Subscriptions<W> {
    /// No subscriptions yet.
    #[must_use]
    pub fn new() -> Self {
        Self { handlers: BTreeMap::new() }
    }

    /// Answers events of the type with this full name with `handler`: pure, in memory, first deciding and then changing the
    /// unit of work.
    #[must_use]
    pub fn on_type(
        mut self,
        event_type: &'static str,
        handler: impl Fn(&mut W, &W::Event, Context<'_>) -> Result<(), Rejection> + Send + Sync + 'static,
    ) -> Self {
        self.handlers.insert(event_type, Box::new(handler));
        self
    }

    /// The full names of the subscribed events.
    pub fn event_types(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.handlers.keys().copied()
    }

    /// Whether events of this type have a handler.
    #[must_use]
    pub fn handles(&self, event_type: &str) -> bool {
        self.handlers.contains_key(event_type)
    }

    /// Runs the handler of `event`. One that panics rejects it (docs/adr/0016): what it had changed in `work` is the
    /// caller's to discard.
    ///
    /// # Errors
    /// When the domain refuses the event, or there is no handler of its type.
    pub fn handle(&self, work: &mut W, event: &W::Event, context: Context<'_>) -> Result<(), Rejection> {
        let Envelope { event_type, event_id, .. } = context.envelope;
        let Some(handler) = self.handlers.get(event_type.as_str()) else {
            return Err(Rejection::new("no_handler", event_type));
        };
        catch_unwind(AssertUnwindSafe(|| handler(work, event, context))).unwrap_or_else(|panic| {
            let detail = panic_message(&*panic);
            tracing::error!(event_type, %event_id, detail, "a handler panicked");
            Err(Rejection::new("handler_panicked", detail))
        })
    }
}

impl<W: UnitOfWork> Default for Subscriptions<W> {
    fn default() -> Self {
        Self::new()
    }
}
