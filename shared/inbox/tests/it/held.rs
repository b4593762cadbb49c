//! Transactions that a test holds open, and what partitions offer meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use contracts::AnyEvent;
use contracts::clock::new_id;
use contracts::topics::PARTITIONS;
use messaging::{Record, partition_for_key};
use testkit::wait::eventually;
use uuid::Uuid;

use crate::stack::{Stack, TIMEOUT, confirmed};

pub(crate) const GROUP: &str = "tidings.ledger";
pub(crate) const ALL: [i32; 6] = [0, 1, 2, 3, 4, 5];

/// Orders whose keys lie on partitions 0, 1, and so on.
pub(crate) fn orders_of_each() -> Vec<Uuid> {
    let of = |wanted| {
        let lies_there = |order: &Uuid| partition_for_key(order.to_string().as_bytes(), PARTITIONS) == wanted;
        std::iter::repeat_with(new_id).find(lies_there).unwrap()
    };
    (0..PARTITIONS).map(of).collect()
}

/// A confirmation of each of these orders.
pub(crate) fn confirmations(orders: &[Uuid]) -> Vec<AnyEvent> {
    orders.iter().map(|order| confirmed(*order, 2)).collect()
}

impl Stack {
    /// Each partition has applied a batch, and joins the others from now on.
    pub(crate) async fn until_joined(&self) -> Vec<Uuid> {
        let orders = orders_of_each();
        for order in &orders {
            self.publish(&confirmed(*order, 1)).await;
        }
        self.caught_up().await;
        orders
    }

    /// Begins a transaction of partition 0 alone, which stays open until the gate gives it a permit.
    pub(crate) async fn begin_alone(&self) -> Uuid {
        self.faults.gate.forget_permits(usize::MAX);
        let before = self.loads().len();
        let order = orders_of_each()[0];
        self.publish(&confirmed(order, 1)).await;
        assert_eq!(self.until_loads(before + 1).await[before], BTreeSet::from([0]));
        order
    }

    pub(crate) fn loads(&self) -> Vec<BTreeSet<i32>> {
        self.faults.loads.lock().unwrap().clone()
    }

    async fn until_loads(&self, count: usize) -> Vec<BTreeSet<i32>> {
        eventually("so many transactions have begun", TIMEOUT, async || {
            let loads = self.loads();
            if loads.len() >= count { Ok(loads) } else { Err(loads) }
        })
        .await
    }

    /// Leaves a transaction open that has these events of new orders, whose partitions are `expected`, and gives the orders. They
    /// are offered while another transaction is open. Whether one came too late is known only afterwards: then it begins anew.
    pub(crate) async fn hold(
        &self,
        expected: &[i32],
        events: impl Fn(&[Uuid]) -> Vec<AnyEvent>,
    ) -> Vec<Uuid> {
        let placed =
            |event: AnyEvent| (partition_for_key(event.key().as_bytes(), PARTITIONS), self.record(&event));
        self.hold_records(expected, |orders| events(orders).into_iter().map(placed).collect()).await
    }

    /// The same of records, each on its partition.
    pub(crate) async fn hold_records(
        &self,
        expected: &[i32],
        records: impl Fn(&[Uuid]) -> Vec<(i32, Record)>,
    ) -> Vec<Uuid> {
        let expected: BTreeSet<i32> = expected.iter().copied().collect();
        eventually("all events are in one transaction", TIMEOUT, async || {
            self.begin_alone().await;
            let (orders, before) = (orders_of_each(), self.loads().len());
            for (partition, record) in records(&orders) {
                self.append_to(partition, record);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            self.faults.gate.add_permits(1);
            let loads = self.until_loads(before + 1).await;
            if loads[before] == expected {
                return Ok(orders);
            }
            self.release();
            self.caught_up().await;
            Err(loads)
        })
        .await
    }

    pub(crate) fn release(&self) {
        self.faults.gate.add_permits(10_000);
    }

    /// In how many transactions these orders got their last effects.
    pub(crate) async fn transactions(&self, orders: &[Uuid]) -> i64 {
        sqlx::query_scalar("SELECT count(DISTINCT xmin::text) FROM ledger WHERE order_id = ANY($1)")
            .bind(orders)
            .fetch_one(self.database.pool())
            .await
            .unwrap()
    }

    /// Waits until each of these orders has these effects.
    pub(crate) async fn until_effects(&self, orders: &[Uuid], effects: &[i64]) {
        eventually("the events have their effects", TIMEOUT, async || {
            for order in orders {
                let found = self.effects(*order).await;
                if found != effects {
                    return Err((*order, found));
                }
            }
            Ok(())
        })
        .await;
    }

    pub(crate) async fn change_position(&self, statement: &'static str) {
        sqlx::query(statement).execute(self.database.pool()).await.unwrap();
    }
}
