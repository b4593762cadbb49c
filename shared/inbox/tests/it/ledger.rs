//! A unit of work as small as one can be: it counts each order's events and remembers their order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use contracts::AnyEvent;
use contracts::order::{OrderCancelled, OrderConfirmed};
use contracts::payment::PaymentDeclined;
use events::Subscribe as _;
use inbox::{AfterCommit, Context, HandlerError, Received, Rejection, Subscriptions, UnitOfWork};
use sqlx::PgConnection;
use tokio::sync::Semaphore;
use uuid::Uuid;

/// A cancellation whose detail is this is rejected after its handler has changed the state.
pub(crate) const IMPOSSIBLE: &str = "impossible";
/// A cancellation whose detail is this is refused by a check of the database.
pub(crate) const REFUSED: &str = "refused";

/// A cancellation whose detail is this panics once its handler has changed the state.
pub(crate) const PANICS: &str = "panics";

/// A cancellation whose detail is this makes `load` panic, while [`Faults::panics`].
pub(crate) const PANICS_IN_LOAD: &str = "panics in load";

/// The same of `store`, once everything is written.
pub(crate) const PANICS_IN_STORE: &str = "panics in store";

/// A cancellation whose detail is this counts in the rows of regions, which orders of all partitions share.
pub(crate) const REGIONS: &str = "regions";

/// Counts applied events after the commit.
pub(crate) const COUNTED: &str = "ledger_events_total";

pub(crate) const TABLE: &str = "CREATE TABLE ledger (
    order_id uuid PRIMARY KEY,
    sequences bigint[] NOT NULL DEFAULT '{}',
    detail text NOT NULL DEFAULT '' CHECK (detail <> 'refused')
);
CREATE TABLE regions (region integer PRIMARY KEY, events bigint NOT NULL DEFAULT 0)";

/// Faults that a test asks for.
#[derive(Debug)]
pub(crate) struct Faults {
    /// So many times storing fails as if the database had gone away, after everything was written.
    pub(crate) failures_before_commit: AtomicU32,
    /// Each batch takes a permit before it stores; a test that has drained it holds batches in hand.
    pub(crate) gate: Semaphore,
    /// Whether `load` and `store` panic where an event asks for it.
    pub(crate) panics: AtomicBool,
    /// The partitions of each transaction that began to load, in their order.
    pub(crate) loads: Mutex<Vec<BTreeSet<i32>>>,
}

impl Faults {
    pub(crate) fn none() -> Self {
        Self {
            failures_before_commit: AtomicU32::new(0),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            panics: AtomicBool::new(true),
            loads: Mutex::default(),
        }
    }

    fn panic_if(&self, asked: bool) {
        assert!(!(asked && self.panics.load(Ordering::SeqCst)), "the test asks for it");
    }
}

#[derive(Clone, Debug, Default)]
struct Entry {
    sequences: Vec<i64>,
    detail: String,
    /// How many sequences it had before.
    loaded: usize,
    /// Inserted by this transaction.
    is_new: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    entries: BTreeMap<Uuid, Entry>,
    /// What is added to the rows of regions.
    regions: BTreeMap<i32, i64>,
}

pub(crate) fn subscriptions() -> Subscriptions<Ledger> {
    Subscriptions::new().on::<OrderConfirmed>(confirmed).on::<OrderCancelled>(cancelled)
}

/// With an event of another topic, which has the same keys.
pub(crate) fn subscriptions_of_two_topics() -> Subscriptions<Ledger> {
    subscriptions().on::<PaymentDeclined>(declined)
}

/// Those of a release in which no handler panics.
pub(crate) fn fixed_subscriptions() -> Subscriptions<Ledger> {
    Subscriptions::new().on::<OrderConfirmed>(confirmed).on::<OrderCancelled>(record_cancellation)
}

fn confirmed(ledger: &mut Ledger, event: &OrderConfirmed, _: Context<'_>) -> Result<(), Rejection> {
    ledger.entries.entry(event.order_id).or_default().sequences.push(event.sequence);
    Ok(())
}

fn declined(ledger: &mut Ledger, event: &PaymentDeclined, _: Context<'_>) -> Result<(), Rejection> {
    ledger.entries.entry(event.order_id).or_default().sequences.push(event.sequence);
    Ok(())
}

fn cancelled(ledger: &mut Ledger, event: &OrderCancelled, context: Context<'_>) -> Result<(), Rejection> {
    let recorded = record_cancellation(ledger, event, context);
    assert!(event.detail.as_deref() != Some(PANICS), "the test asks for it");
    recorded
}

fn record_cancellation(ledger: &mut Ledger, event: &OrderCancelled, _: Context<'_>) -> Result<(), Rejection> {
    let entry = ledger.entries.entry(event.order_id).or_default();
    entry.sequences.push(event.sequence);
    entry.detail = event.detail.clone().unwrap_or_default();
    if entry.detail == IMPOSSIBLE {
        return Err(Rejection::new("impossible", "the test says so"));
    }
    Ok(())
}

/// How much events add to each region: two regions for each event that counts.
fn regions(events: &[Received<AnyEvent>]) -> BTreeMap<i32, i64> {
    let mut regions = BTreeMap::new();
    for received in events {
        if let AnyEvent::OrderCancelled(event) = &received.event
            && event.detail.as_deref() == Some(REGIONS)
        {
            for byte in &event.order_id.as_bytes()[14..] {
                *regions.entry(i32::from(byte % 4)).or_default() += 1;
            }
        }
    }
    regions
}

impl UnitOfWork for Ledger {
    type Event = AnyEvent;
    type Deps = std::sync::Arc<Faults>;

    async fn load(
        faults: &Self::Deps,
        conn: &mut PgConnection,
        events: &[Received<AnyEvent>],
    ) -> Result<Self, HandlerError> {
        let partitions = events.iter().map(|received| received.partition).collect();
        faults.loads.lock().expect("no panic").push(partitions);
        faults.panic_if(events.iter().any(|received| {
            matches!(&received.event, AnyEvent::OrderCancelled(event) if event.detail.as_deref() == Some(PANICS_IN_LOAD))
        }));
        let ids: Vec<Uuid> = events
            .iter()
            .filter_map(|received| match &received.event {
                AnyEvent::OrderConfirmed(event) => Some(event.order_id),
                AnyEvent::OrderCancelled(event) => Some(event.order_id),
                AnyEvent::PaymentDeclined(event) => Some(event.order_id),
                _ => None,
            })
            .collect();
        let inserted: BTreeSet<Uuid> = sqlx::query_scalar(
            "INSERT INTO ledger (order_id) SELECT DISTINCT unnest($1::uuid[]) ORDER BY 1 ON CONFLICT DO NOTHING
             RETURNING order_id",
        )
        .bind(&ids)
        .fetch_all(&mut *conn)
        .await?
        .into_iter()
        .collect();
        let rows: Vec<(Uuid, Vec<i64>, String)> = sqlx::query_as(
            "SELECT order_id, sequences, detail FROM ledger WHERE order_id = ANY($1) ORDER BY order_id FOR UPDATE",
        )
        .bind(&ids)
        .fetch_all(&mut *conn)
        .await?;
        let entries = rows
            .into_iter()
            .map(|(id, sequences, detail)| {
                let (loaded, is_new) = (sequences.len(), inserted.contains(&id));
                (id, Entry { sequences, detail, loaded, is_new })
            })
            .collect();
        let regions = regions(events);
        let ids: Vec<i32> = regions.keys().copied().collect();
        for statement in [
            "INSERT INTO regions SELECT unnest($1::integer[]) ORDER BY 1 ON CONFLICT DO NOTHING",
            "SELECT FROM regions WHERE region = ANY($1) ORDER BY region FOR UPDATE",
        ] {
            if !ids.is_empty() {
                sqlx::query(statement).bind(&ids).execute(&mut *conn).await?;
            }
        }
        Ok(Self { entries, regions })
    }

    fn after_commit(&self) -> AfterCommit {
        let new: usize = self.entries.values().map(|entry| entry.sequences.len() - entry.loaded).sum();
        Box::new(move || metrics::counter!(COUNTED).increment(new as u64))
    }

    async fn store(self, faults: &Self::Deps, conn: &mut PgConnection) -> Result<(), HandlerError> {
        let panics = self.entries.values().any(|entry| entry.detail == PANICS_IN_STORE);
        let mut details = (Vec::new(), Vec::new());
        let (mut added, mut unused) = ((Vec::new(), Vec::new()), Vec::new());
        for (order_id, Entry { sequences, detail, loaded, is_new }) in self.entries {
            if is_new && sequences.is_empty() {
                unused.push(order_id);
            }
            for sequence in &sequences[loaded..] {
                added.0.push(order_id);
                added.1.push(*sequence);
            }
            details.0.push(order_id);
            details.1.push(detail);
        }
        if !unused.is_empty() {
            let delete = sqlx::query("DELETE FROM ledger WHERE order_id = ANY($1)");
            delete.bind(unused).execute(&mut *conn).await?;
        }
        if !added.0.is_empty() {
            write(conn, details, added).await?;
        }
        for (region, events) in self.regions {
            sqlx::query("UPDATE regions SET events = events + $2 WHERE region = $1")
                .bind(region)
                .bind(events)
                .execute(&mut *conn)
                .await?;
        }
        faults.panic_if(panics);
        faults.gate.acquire().await.expect("never closed").forget();
        let left = faults
            .failures_before_commit
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        match left {
            Ok(_) => Err(HandlerError::Retry("the database went away before the commit".into())),
            Err(_) => Ok(()),
        }
    }
}

async fn write(
    conn: &mut PgConnection,
    details: (Vec<Uuid>, Vec<String>),
    added: (Vec<Uuid>, Vec<i64>),
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "WITH added AS (
                 SELECT order_id, array_agg(sequence ORDER BY place) AS sequences
                 FROM unnest($3::uuid[], $4::bigint[]) WITH ORDINALITY AS a (order_id, sequence, place)
                 GROUP BY order_id)
             UPDATE ledger l SET sequences = l.sequences || added.sequences, detail = d.detail
             FROM unnest($1::uuid[], $2::text[]) AS d (order_id, detail) JOIN added USING (order_id)
             WHERE l.order_id = d.order_id",
    )
    .bind(details.0)
    .bind(details.1)
    .bind(added.0)
    .bind(added.1)
    .execute(&mut *conn)
    .await?;
    Ok(())
}
