//! Reads the five databases, each in one read-only transaction of one snapshot.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use anyhow::Context;
use contracts::Codec;
use contracts::topics::{Topic, Topics};
use futures::TryStreamExt;
use sqlx::{ConnectOptions, Connection, PgConnection};
use uuid::Uuid;

use super::delivery::{self, Delivery, PositionRow};
use super::history::Place;
use super::keys::Keys;
use super::rows::{analytics, inventory, notification, order, payment};
use super::topics;
use crate::services::ServiceName;
use crate::up::databases::{database_url, without_password};

/// All statements of one database see the same moment, and change nothing.
pub(super) const ONE_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// How long a database may say nothing: neither a row nor the answer to a statement.
pub const SILENCE: Duration = Duration::from_secs(300);

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// All five databases, each at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// What every service has: outbox and inbox.
    pub delivery: BTreeMap<ServiceName, Delivery>,
    /// order's tables.
    pub order: order::Rows,
    /// inventory's tables.
    pub inventory: inventory::Rows,
    /// payment's tables, and the provider's.
    pub payment: payment::Rows,
    /// notification's tables.
    pub notification: notification::Rows,
    /// analytics' tables.
    pub analytics: analytics::Rows,
    /// Work that is due and not done: what, and how much.
    pub unfinished: BTreeMap<&'static str, i64>,
}

/// Reads everything that the checks compare.
///
/// # Errors
/// When a database can't be reached or lacks a table.
pub async fn read(postgres: &str) -> anyhow::Result<Snapshot> {
    let mut snapshot = Snapshot::default();
    for service in ServiceName::ALL {
        let mut database = open(postgres, service).await?;
        let mut conn = database.begin_with(ONE_SNAPSHOT).await?;
        snapshot.read(service, &mut conn).await?;
        conn.rollback().await?;
        database.close().await?;
    }
    Ok(snapshot)
}

/// Reads only whether work is under way.
///
/// # Errors
/// When a database can't be reached or lacks a table.
pub async fn read_pending(postgres: &str, silence: Duration) -> anyhow::Result<Snapshot> {
    let mut snapshot = Snapshot::default();
    for service in ServiceName::ALL {
        let mut database = open(postgres, service).await?;
        let reading = async {
            let mut conn = database.begin_with(ONE_SNAPSHOT).await?;
            let delivery = delivery::pending(&mut conn).await?;
            snapshot.delivery.insert(service, delivery);
            snapshot.count_unfinished(service, &mut conn).await?;
            conn.rollback().await?;
            anyhow::Ok(database.close().await?)
        };
        said(silence, service, reading).await?;
    }
    Ok(snapshot)
}

/// What a database says, within `silence`: the next row, or the answer to what it is asked in one go.
///
/// # Errors
/// When it fails, or says nothing.
pub(super) async fn said<T, E: Into<anyhow::Error>>(
    silence: Duration,
    service: ServiceName,
    saying: impl Future<Output = Result<T, E>>,
) -> anyhow::Result<T> {
    let what = || format!("reading {}", service.database());
    let answer = tokio::time::timeout(silence, saying).await;
    let answer = answer.with_context(|| format!("it said nothing for {silence:?}")).with_context(what)?;
    answer.map_err(Into::into).with_context(what)
}

pub(super) async fn open(postgres: &str, service: ServiceName) -> anyhow::Result<PgConnection> {
    database::connect_options(&postgres.replace("{service}", service.as_str()))
        .context("--postgres is no PostgreSQL URL")?;
    let url = if postgres.contains("{service}") {
        postgres.replace("{service}", service.as_str())
    } else {
        database_url(postgres, &service.database())
    };
    let options = database::connect_options(&url)
        .with_context(|| format!("{} is no PostgreSQL URL", without_password(&url)))?;
    let options = options.application_name("tidings verify");
    let connecting = || format!("connecting to {}", without_password(&url));
    let conn = tokio::time::timeout(CONNECT_TIMEOUT, options.connect())
        .await
        .with_context(connecting)?
        .with_context(connecting)?;
    Ok(conn)
}

impl Snapshot {
    /// Reads one service's database anew, in the transaction that `conn` is in.
    ///
    /// # Errors
    /// When a table can't be read.
    pub async fn read(&mut self, service: ServiceName, conn: &mut PgConnection) -> anyhow::Result<()> {
        let what = || format!("reading {}", service.database());
        self.read_whole(service, conn).await?;
        let messages = delivery::messages(conn).try_collect().await.with_context(what)?;
        let events: Vec<_> = delivery::events(conn).try_collect().await.with_context(what)?;
        let delivery = self.delivery.entry(service).or_default();
        delivery.messages = messages;
        delivery.events = events.into_iter().map(|row| (row.event_id, row)).collect();
        self.read_orders(service, conn, &Keys::ALL).await
    }

    /// Reads positions, dead letters, stock and counters: what neither grows with the number of orders nor takes long.
    pub(super) async fn read_sums(
        &mut self,
        service: ServiceName,
        conn: &mut PgConnection,
    ) -> anyhow::Result<()> {
        let what = || format!("reading {}", service.database());
        self.delivery.insert(service, delivery::read(conn).await.with_context(what)?);
        match service {
            ServiceName::Inventory => self.inventory = inventory::read(conn).await.with_context(what)?,
            ServiceName::Analytics => self.analytics = analytics::read(conn).await.with_context(what)?,
            ServiceName::Order | ServiceName::Payment | ServiceName::Notification => {}
        }
        Ok(())
    }

    /// Reads what belongs to no order.
    pub(super) async fn read_whole(
        &mut self,
        service: ServiceName,
        conn: &mut PgConnection,
    ) -> anyhow::Result<()> {
        let what = || format!("reading {}", service.database());
        self.read_sums(service, conn).await?;
        if service == ServiceName::Order {
            self.order = order::Rows::default();
        }
        self.read_rest(service, conn).await?;
        self.count_unfinished(service, conn).await.with_context(what)
    }

    /// Adds to sums what takes longer.
    pub(super) async fn read_rest(
        &mut self,
        service: ServiceName,
        conn: &mut PgConnection,
    ) -> anyhow::Result<()> {
        let what = || format!("reading {}", service.database());
        match service {
            ServiceName::Order => {}
            ServiceName::Inventory => self.inventory.add_replenishments(conn).await.with_context(what)?,
            ServiceName::Payment => self.payment = payment::read(conn).await.with_context(what)?,
            ServiceName::Notification => {
                self.notification = notification::read(conn).await.with_context(what)?;
            }
            ServiceName::Analytics => self.analytics.add_mentioned(conn).await.with_context(what)?,
        }
        Ok(())
    }

    /// Adds the rows of these orders.
    pub(super) async fn read_orders(
        &mut self,
        service: ServiceName,
        conn: &mut PgConnection,
        keys: &Keys,
    ) -> anyhow::Result<()> {
        match service {
            ServiceName::Order => self.order.add_orders(conn, keys).await,
            ServiceName::Inventory => self.inventory.add_orders(conn, keys).await,
            ServiceName::Payment => self.payment.add_orders(conn, keys).await,
            ServiceName::Notification => self.notification.add_orders(conn, keys).await,
            ServiceName::Analytics => self.analytics.add_orders(conn, keys).await,
        }
        .with_context(|| format!("reading {}", service.database()))
    }

    /// Adds what the outboxes hold of the orders whose rows are there, and what became of these events.
    pub(super) async fn read_delivery(
        &mut self,
        service: ServiceName,
        conn: &mut PgConnection,
        events: &[Uuid],
    ) -> anyhow::Result<()> {
        let what = || format!("reading {}", service.database());
        let last = match service {
            ServiceName::Order => self.order.last_messages(),
            ServiceName::Inventory => self.inventory.last_messages(),
            ServiceName::Payment => self.payment.last_messages(),
            ServiceName::Notification | ServiceName::Analytics => Vec::new(),
        };
        let messages = delivery::messages_up_to(conn, &last).await.with_context(what)?;
        let rows = delivery::events_of(conn, events).await.with_context(what)?;
        let delivery = self.delivery.entry(service).or_default();
        delivery.messages.extend(messages);
        delivery.events.extend(rows.into_iter().map(|row| (row.event_id, row)));
        Ok(())
    }

    /// Whether order, inventory and payment have published so many events of an order, and have nothing left to do for it.
    pub(super) fn has_published(&self, order_id: Uuid, [orders, reservations, payments]: [i64; 3]) -> bool {
        self.order.last_sequence(order_id) == orders
            && self.inventory.last_sequence(order_id) == reservations
            && self.payment.last_sequence(order_id) == payments
            && self.payment.payments.get(&order_id).is_none_or(|row| !row.is_under_way())
    }

    /// Keeps the rows of these orders only.
    pub(super) fn retain_orders(&mut self, keep: &dyn Fn(&Uuid) -> bool) {
        self.order.retain(keep);
        self.inventory.retain(keep);
        self.payment.retain(keep);
        self.notification.retain(keep);
        self.analytics.retain(keep);
    }

    /// The places that dead letters and their audit name.
    pub(super) fn named_places(&self, topics: &Topics) -> BTreeSet<Place> {
        let place =
            |topic: &str, partition, offset| Some(Place { topic: topics.parse(topic)?, partition, offset });
        let of = |delivery: &Delivery| -> Vec<Place> {
            let letters =
                delivery.letters.iter().filter_map(|row| place(&row.topic, row.partition, row.offset));
            let audit = delivery.audit.iter().filter_map(|row| place(&row.topic, row.partition, row.offset));
            letters.chain(audit).collect()
        };
        self.delivery.values().flat_map(of).collect()
    }

    /// The records that the services name as the last ones before their positions. Markers of transactions may stand between.
    pub(super) fn last_records(&self, topics: &Topics) -> BTreeSet<Place> {
        let place = |((name, partition), row): (&(String, i32), &PositionRow)| {
            let (topic, partition) = (topics.parse(name)?, *partition);
            Some(Place { topic, partition, offset: row.last_record_offset? })
        };
        self.delivery.values().flat_map(|delivery| &delivery.positions).filter_map(place).collect()
    }

    /// Where the services stand in each partition.
    pub(super) fn positions(&self, topics: &Topics) -> HashMap<(Topic, i32), BTreeSet<i64>> {
        let mut positions: HashMap<(Topic, i32), BTreeSet<i64>> = HashMap::new();
        for ((name, partition), row) in self.delivery.values().flat_map(|delivery| &delivery.positions) {
            if let Some(topic) = topics.parse(name) {
                positions.entry((topic, *partition)).or_default().insert(row.next_offset);
            }
        }
        positions
    }

    /// What every part of the comparison needs: no rows of orders, messages or events.
    pub(super) fn without_rows(&self) -> Self {
        Self {
            delivery: self.delivery.iter().map(|(service, it)| (*service, it.without_rows())).collect(),
            notification: self.notification.without_rows(),
            unfinished: self.unfinished.clone(),
            ..Self::default()
        }
    }

    /// Decodes the messages that are not on their topics yet.
    ///
    /// # Errors
    /// When the registry can't be read.
    pub async fn decode_waiting(&mut self, codec: &Codec) -> anyhow::Result<()> {
        for row in self.delivery.values_mut().flat_map(|delivery| &mut delivery.messages) {
            if let (false, Some(topic)) = (row.is_published, codec.topics().parse(&row.topic)) {
                row.event = topics::decode(codec, topic, row.value.as_deref()).await?.ok();
            }
        }
        Ok(())
    }

    async fn count_unfinished(&mut self, service: ServiceName, conn: &mut PgConnection) -> sqlx::Result<()> {
        let (what, count): (&'static str, i64) = match service {
            ServiceName::Order => (
                "orders have not ended",
                sqlx::query_scalar("SELECT count(*) FROM orders WHERE status = 'placed'").fetch_one(conn).await?,
            ),
            ServiceName::Payment => (
                "payments have a step to do",
                sqlx::query_scalar("SELECT count(*) FROM payments WHERE due_at IS NOT NULL")
                    .fetch_one(conn)
                    .await?,
            ),
            // One that was tried and waits to be tried again is not waited for: its server may be down for hours.
            ServiceName::Notification => (
                "mails are to be sent",
                sqlx::query_scalar("SELECT count(*) FROM mails WHERE state = 'pending' AND (attempts = 0 OR lease_id IS NOT NULL)")
                    .fetch_one(conn)
                    .await?,
            ),
            ServiceName::Inventory | ServiceName::Analytics => return Ok(()),
        };
        self.unfinished.insert(what, count);
        Ok(())
    }
}
