//! What the transactions of the consumers lock, statement by statement, as the server shows it (docs/adr/0015).

mod recorder;

use std::collections::{BTreeMap, BTreeSet};

use embedded::postgres::{PostgresOptions, PrivatePostgres, Storage};
use recorder::{Recorder, Transaction};
use system::{System, options};
use tidings::services::ServiceName;
use tidings::up::options::Options;

/// The most statements of a batch that are the inbox's, with BEGIN and COMMIT, whatever it has.
const OF_INBOX: usize = 6;
/// The most that are the service's: analytics has as many where a batch has events of orders and of stock.
const OF_SERVICE: usize = 6;

/// Whether it looks for a row again that another transaction has inserted meanwhile, which is seldom.
fn is_second_look(statement: &str) -> bool {
    statement.starts_with("SELECT") && statement.contains("false AS is_inserted")
}

fn is_of_inbox(statement: &str) -> bool {
    statement.contains("inbox.") || statement.starts_with("BEGIN") || statement.ends_with("COMMIT")
}

/// Whether the transaction is a batch of a consumer.
fn is_batch(transaction: &Transaction) -> bool {
    transaction.is_committed
        && transaction.locks.iter().flatten().any(|table| table == "inbox.consumer_positions")
}

/// Orders of each end on five real services, whose way to the database is recorded: the transactions of each database.
async fn recorded() -> anyhow::Result<BTreeMap<String, Vec<Transaction>>> {
    let server = PrivatePostgres::start(&Storage::Temporary, &PostgresOptions::for_tests()).await?;
    let recorder = Recorder::start(&server.url("postgres")).await?;
    let system = System::start_on(&Options { postgres: Some(recorder.url()), ..options() }).await;
    system.replenish("TEAPOT", 100).await?;
    system.replenish("BANK CHARGES", 1).await?;
    let mut orders = Vec::new();
    for (sku, quantity, method) in [
        ("TEAPOT", 2, "tok_visa"),
        ("TEAPOT", 95, "tok_visa"),
        ("BANK CHARGES", 2, "tok_visa"),
        ("TEAPOT", 1, "tok_declined"),
        ("TEAPOT", 1, "tok_capture_declined"),
    ] {
        orders.push(system.place(sku, quantity, method).await?);
    }
    let cancelled = system.place("TEAPOT", 1, "tok_slow").await?;
    system.cancel(cancelled).await?;
    for order in orders.into_iter().chain([cancelled]) {
        system.ended(order).await;
    }
    let report = system.verify().await?;
    assert!(report.holds(), "{report}");
    system.stop().await?;
    let transactions = recorder.transactions();
    server.stop().await?;
    Ok(transactions)
}

/// The tables that lie on a circle, or lead to one, if transactions lock tables one after the other as these have.
fn cycle(transactions: &[&Transaction]) -> Option<Vec<String>> {
    let mut after: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for transaction in transactions {
        let mut earlier: BTreeSet<&str> = BTreeSet::new();
        for locked in &transaction.locks {
            for table in locked {
                earlier.iter().for_each(|before| {
                    after.entry(before).or_default().insert(table);
                });
            }
            earlier.extend(locked.iter().map(String::as_str));
        }
    }
    // What nothing comes after can be in no circle.
    loop {
        let ends: Vec<&str> =
            after.values().flatten().filter(|table| !after.contains_key(*table)).copied().collect();
        if ends.is_empty() {
            break;
        }
        after.values_mut().for_each(|tables| tables.retain(|table| !ends.contains(table)));
        after.retain(|_, tables| !tables.is_empty());
    }
    if after.is_empty() { None } else { Some(after.into_keys().map(str::to_owned).collect()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_batches_of_a_service_lock_its_tables_in_one_order_by_few_statements() -> anyhow::Result<()> {
    let recorded = recorded().await?;
    for service in ServiceName::ALL {
        let transactions = recorded.get(&service.database()).map(Vec::as_slice).unwrap_or_default();
        let batches: Vec<&Transaction> =
            transactions.iter().filter(|transaction| is_batch(transaction)).collect();
        let tables: BTreeSet<&String> =
            batches.iter().flat_map(|batch| batch.locks.iter().flatten()).collect();
        let most = |of: fn(&str) -> bool| {
            let statements = |batch: &&Transaction| batch.statements.iter().filter(|text| of(text)).count();
            batches.iter().map(statements).max().unwrap_or_default()
        };
        let (of_inbox, own) = (most(is_of_inbox), most(|text| !is_of_inbox(text) && !is_second_look(text)));
        println!(
            "{service}: {} batches of {of_inbox} statements and {own} of its own on {tables:?}",
            batches.len()
        );
        assert!(
            of_inbox <= OF_INBOX && own <= OF_SERVICE,
            "{service}: {of_inbox} and {own} statements: {batches:#?}"
        );
        assert!(tables.len() > 3, "{service}: {tables:?}");
        assert_eq!(cycle(&batches), None, "{service}: {batches:#?}");
    }
    Ok(())
}

#[test]
fn tables_that_are_locked_in_two_orders_are_found() {
    let transaction = |locks: &[&[&str]]| Transaction {
        locks: locks.iter().map(|tables| tables.iter().map(|table| (*table).to_owned()).collect()).collect(),
        ..Transaction::default()
    };
    let orders_first = transaction(&[&["positions"], &[], &["orders", "messages"], &["stock"]]);
    let alone = transaction(&[&["positions"], &["stock"]]);
    assert_eq!(cycle(&[&orders_first, &alone]), None);
    let stock_first = transaction(&[&["stock"], &["orders"]]);
    let found = cycle(&[&orders_first, &alone, &stock_first]);
    let expected = ["messages", "orders", "positions", "stock"];
    assert_eq!(found, Some(expected.map(str::to_owned).to_vec()));
}
