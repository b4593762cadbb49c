//! Every version of every event ever stored still reads. Golden files are only ever added.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use order::adapters::stored::{StoredEvent, read, store};
use order::domain::OrderEvent;
use serde_json::Value;

fn golden_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// `OrderPlaced.v1.json` as it would have been stored.
fn golden(file: &Path) -> StoredEvent {
    let name = file.file_stem().unwrap().to_str().unwrap();
    let (kind, version) = name.split_once(".v").unwrap();
    let data: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    StoredEvent { kind: kind.to_owned(), schema_version: version.parse().unwrap(), data }
}

fn golden_named(name: &str) -> StoredEvent {
    golden(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden").join(name))
}

#[test]
fn every_stored_version_reads_and_the_newest_is_written_as_it_was_read() {
    let mut newest = BTreeSet::new();
    for file in golden_files() {
        let stored = golden(&file);
        let event = read(stored.clone()).unwrap_or_else(|error| panic!("{}: {error:?}", file.display()));
        let rewritten = store(&event).unwrap();
        assert_eq!(rewritten.kind, stored.kind);
        assert!(rewritten.schema_version >= stored.schema_version, "{}", file.display());
        if rewritten.schema_version == stored.schema_version {
            assert_eq!(
                serde_json::from_str::<Value>(rewritten.data.get()).unwrap(),
                stored.data,
                "{}: a change of shape needs a new version",
                file.display()
            );
            newest.insert(stored.kind);
        }
    }
    let kinds = [
        "DeadlineScheduled",
        "LateDeclineRecorded",
        "LatePaymentRecorded",
        "LateStockRejectionRecorded",
        "OrderCancelled",
        "OrderConfirmed",
        "OrderPlaced",
        "StockReservationRecorded",
    ];
    assert!(newest.iter().eq(kinds), "a golden file of each event's newest version: {newest:?}");
}

#[test]
fn an_order_placed_in_dollars_and_cents_is_lifted_to_minor_units_of_a_currency() {
    let OrderEvent::OrderPlaced(placement) = read(golden_named("OrderPlaced.v1.json")).unwrap() else {
        panic!("another event");
    };
    assert_eq!(placement.currency.as_str(), "USD");
    let prices: Vec<_> = placement.lines.iter().map(|line| line.unit_price_minor.minor()).collect();
    assert_eq!((prices, placement.total_minor), (vec![255, 1_800], 3_330));
}

#[test]
fn what_no_version_of_ours_has_written_is_an_error() {
    let placed = golden_named("OrderPlaced.v1.json");
    let newer = StoredEvent { schema_version: 3, ..placed.clone() };
    let never = StoredEvent { schema_version: 0, ..placed.clone() };
    let unknown = StoredEvent { kind: "OrderForgotten".to_owned(), ..placed.clone() };
    let mut half_pence = placed.clone();
    half_pence.data["items"][0]["price"] = "2.555".into();
    let mut foreign = golden_named("OrderPlaced.v2.json");
    foreign.data["lines"] = "none".into();
    for stored in [newer, never, unknown, half_pence, foreign] {
        let message = read(stored.clone()).unwrap_err().to_string();
        assert!(message.contains(&stored.kind), "{message}");
    }
}
