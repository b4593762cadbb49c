//! The use case on tables in memory.

use std::collections::BTreeMap;

use contracts::TraceContext;
use futures::FutureExt;
use uuid::Uuid;

use super::*;
use crate::domain::StockEvent;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tables {
    stock: BTreeMap<Sku, StockLevel>,
    replenishments: BTreeMap<String, Earlier>,
    published: Vec<(Sku, StockEvent)>,
}

/// A transaction on them: it works on a copy, which takes their place once it is committed.
#[derive(Debug)]
struct InMemory<'a> {
    committed: &'a mut Tables,
    tables: Tables,
}

impl Transaction for InMemory<'_> {
    type Error = Refusal;

    async fn lock(&mut self, sku: &Sku, default_threshold: i64) -> Result<StockLevel, Refusal> {
        Ok(*self.tables.stock.entry(sku.clone()).or_insert(StockLevel::empty(default_threshold)))
    }

    async fn remember(
        &mut self,
        command: &ReplenishStock,
        answer: &Replenished,
        _: DateTime<Utc>,
    ) -> Result<Option<Earlier>, Refusal> {
        let earlier = self.tables.replenishments.get(&command.idempotency_key).cloned();
        if earlier.is_none() {
            let earlier = Earlier { command: command.clone(), answer: answer.clone() };
            self.tables.replenishments.insert(command.idempotency_key.clone(), earlier);
        }
        Ok(earlier)
    }

    async fn store(&mut self, change: LevelChange, _: &Cause, _: DateTime<Utc>) -> Result<(), Refusal> {
        self.tables.published.extend(change.events.into_iter().map(|event| (change.sku.clone(), event)));
        self.tables.stock.insert(change.sku, change.level);
        Ok(())
    }

    async fn commit(self) -> Result<(), Refusal> {
        *self.committed = self.tables;
        Ok(())
    }
}

const THRESHOLD: i64 = 10;

fn command(key: &str, quantity: i64, reorder_threshold: Option<i64>) -> ReplenishStock {
    let sku = Sku::parse("mug").unwrap();
    ReplenishStock { idempotency_key: key.to_owned(), sku, quantity, reorder_threshold }
}

fn replenish(tables: &mut Tables, command: &ReplenishStock) -> Result<Outcome, Refusal> {
    let cause = Cause {
        correlation_id: Uuid::nil(),
        causation_id: None,
        user_id: None,
        trace: TraceContext::default(),
    };
    let transaction = InMemory { tables: tables.clone(), committed: tables };
    replenish_stock(transaction, command, THRESHOLD, &cause, DateTime::UNIX_EPOCH)
        .now_or_never()
        .expect("memory answers at once")
}

fn available(tables: &Tables) -> Vec<i64> {
    tables.stock.values().map(|level| level.books().available).collect()
}

#[test]
fn the_first_units_create_the_sku_with_the_default_threshold() {
    let mut tables = Tables::default();
    let Ok(Outcome::Done(first)) = replenish(&mut tables, &command("a", 15, None)) else {
        panic!("not done")
    };
    assert!(first.created);
    assert_eq!((first.level.available, first.level.reorder_threshold), (15, THRESHOLD));
    let Ok(Outcome::Done(second)) = replenish(&mut tables, &command("b", 5, Some(30))) else {
        panic!("not done")
    };
    assert!(!second.created);
    assert_eq!((second.level.available, second.level.reorder_threshold), (20, 30));
    let published: Vec<StockEvent> = tables.published.iter().map(|(_, event)| *event).collect();
    let replenished = |quantity| StockEvent::Replenished { quantity };
    assert_eq!(published, [replenished(15), replenished(5), StockEvent::FellLow]);
}

#[test]
fn a_repeated_key_changes_nothing_and_gets_the_stored_answer() {
    let mut tables = Tables::default();
    let Ok(Outcome::Done(first)) = replenish(&mut tables, &command("a", 5, None)) else { panic!("not done") };
    replenish(&mut tables, &command("b", i64::MAX - 5, None)).unwrap();
    let before = tables.clone();
    // By now five more units would be refused.
    assert_eq!(replenish(&mut tables, &command("a", 5, None)), Ok(Outcome::Replayed(first)));
    assert_eq!(tables, before);
}

#[test]
fn a_key_that_another_replenishment_has_used_changes_nothing() {
    let mut tables = Tables::default();
    replenish(&mut tables, &command("a", 5, None)).unwrap();
    let before = tables.clone();
    for other in [command("a", 6, None), command("a", 5, Some(3))] {
        assert_eq!(replenish(&mut tables, &other), Ok(Outcome::KeyReused));
    }
    assert_eq!(tables, before);
}

#[test]
fn a_refused_command_leaves_nothing_and_its_key_unused() {
    let mut tables = Tables::default();
    let refused = replenish(&mut tables, &command("a", 0, None)).map_err(|refusal| refusal.code());
    assert_eq!(refused, Err("quantity_not_positive"));
    assert_eq!(tables, Tables::default());
    replenish(&mut tables, &command("a", 5, None)).unwrap();
    assert_eq!(available(&tables), [5]);
}
