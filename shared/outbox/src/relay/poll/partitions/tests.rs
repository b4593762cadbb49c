//! What is read of each partition, page by page, without a database.

use super::*;
use crate::relay::poll::deferred::Deferred;
use crate::relay::row::QueueKey;

const LIMIT: Limit = Limit { rows: 8, bytes: 1_000_000 };
const PAGE: usize = 8;

/// Nothing is deferred.
fn rooms() -> KeyRooms {
    Deferred::default().rooms("orders")
}

/// A key of each of two partitions.
fn key(partition: i32) -> Arc<[u8]> {
    let keys = (0..).map(|n: u32| n.to_string().into_bytes());
    keys.into_iter().find(|key| partition_for_key(key, 2) == partition).unwrap().into()
}

fn candidate(id: i64, partition: Option<i32>) -> Candidate {
    Candidate { id, key: partition.map(key), bytes: 10 }
}

/// Messages of partition 0 up to id 20, and one of partition 1 behind them.
fn table() -> Vec<Candidate> {
    (1..=20).map(|id| candidate(id, Some(0))).chain([candidate(21, Some(1))]).collect()
}

/// Reads a page as the table would give it, and holds what was chosen.
fn read(partitions: &mut Partitions, table: &[Candidate], scope: Scope) -> Option<Vec<i64>> {
    let mut page = partitions.page("orders", scope, PAGE, rooms())?;
    let buffered: BTreeSet<i64> =
        partitions.shares.iter().flat_map(|share| share.ids.iter().copied()).collect();
    let unseen = |candidate: &&Candidate| candidate.id > page.above_id && !buffered.contains(&candidate.id);
    let shown: Vec<Candidate> = table.iter().filter(unseen).take(page.rows).cloned().collect();
    let chosen = page.choose(&shown, shown.len() == page.rows);
    for choice in &chosen {
        partitions.hold(choice.partition, choice.id, 10);
    }
    partitions.note(&page, scope);
    Some(chosen.into_iter().map(|choice| choice.id).collect())
}

#[test]
fn a_full_scan_passes_the_rows_of_a_full_partition_page_by_page() {
    let mut partitions = Partitions::new(2, 2, LIMIT);
    partitions.begin_full_scan();
    assert_eq!(read(&mut partitions, &table(), Scope::FullScan), Some(vec![1, 2, 3, 4]));
    assert_eq!(read(&mut partitions, &table(), Scope::FullScan), Some(vec![]));
    assert_eq!(read(&mut partitions, &table(), Scope::FullScan), Some(vec![21]));
    assert!(!partitions.is_in_full_scan());
}

#[test]
fn a_full_scan_ends_where_no_partition_has_room() {
    let mut partitions = Partitions::new(2, 2, LIMIT);
    let many: Vec<_> = (1..=40).map(|id| candidate(id, Some(i32::from(id % 2 == 0)))).collect();
    partitions.begin_full_scan();
    assert_eq!(read(&mut partitions, &many, Scope::FullScan), Some((1..=8).collect()));
    assert_eq!(read(&mut partitions, &many, Scope::FullScan), Some(vec![]));
    assert!(!partitions.is_in_full_scan());
}

#[test]
fn what_was_left_out_is_read_from_there_once_half_is_free_and_before_what_follows_it() {
    let mut partitions = Partitions::new(2, 2, LIMIT);
    let mut table = table();
    partitions.begin_full_scan();
    while partitions.is_in_full_scan() {
        read(&mut partitions, &table, Scope::FullScan);
    }
    partitions.release(0, 1, 10);
    table.push(candidate(22, Some(0)));
    assert_eq!(read(&mut partitions, &table, Scope::Backlog), None);
    assert_eq!(read(&mut partitions, &table, Scope::Newest), Some(vec![]), "22 may follow 5");
    partitions.release(0, 2, 10);
    table.retain(|candidate| candidate.id > 2);
    assert_eq!(read(&mut partitions, &table, Scope::Backlog), Some(vec![5, 6]));
}

#[test]
fn new_messages_are_read_whatever_lies_between_them_and_the_lowest_that_is_held() {
    let mut partitions = Partitions::new(2, 2, LIMIT);
    let mut table: Vec<_> =
        [candidate(1, Some(1))].into_iter().chain((2..=100).map(|id| candidate(id, Some(0)))).collect();
    partitions.begin_full_scan();
    while partitions.is_in_full_scan() {
        read(&mut partitions, &table, Scope::FullScan);
    }
    table.push(candidate(101, Some(1)));
    assert_eq!(read(&mut partitions, &table, Scope::Newest), Some(vec![101]));
}

#[test]
fn a_message_without_a_key_goes_where_most_room_is() {
    let mut partitions = Partitions::new(2, 2, LIMIT);
    for id in 1..=3 {
        partitions.hold(0, id, 10);
    }
    let mut page = partitions.page("orders", Scope::Newest, PAGE, rooms()).unwrap();
    let chosen = page.choose(&[candidate(5, None), candidate(6, None)], false);
    assert_eq!(chosen, [Choice { id: 5, partition: 1 }, Choice { id: 6, partition: 1 }]);
}

#[test]
fn no_more_than_its_share_of_bytes_and_one_message_is_read_of_a_partition() {
    let mut partitions = Partitions::new(2, 2, Limit { rows: 8, bytes: 2 * 1_200 });
    partitions.begin_full_scan();
    assert_eq!(read(&mut partitions, &table(), Scope::FullScan), Some(vec![1, 2, 3]));
}

#[test]
fn whole_rows_are_read_where_nearly_all_of_a_page_will_be_taken() {
    let is_of_rows = |held: usize, key_rooms: KeyRooms| {
        let mut partitions = Partitions::new(2, 2, LIMIT);
        for id in (0..).take(held) {
            partitions.hold(0, id, 10);
        }
        partitions.begin_full_scan();
        partitions.page("orders", Scope::FullScan, PAGE, key_rooms).unwrap().is_of_rows()
    };
    assert_eq!([0, 2, 3, 4].map(|held| is_of_rows(held, rooms())), [true, true, false, false]);
    let mut deferred = Deferred::default();
    deferred.buffered(&("orders".into(), QueueKey::Key(key(0))), 100);
    assert!(!is_of_rows(0, deferred.rooms("orders")), "most of the page may be of one key");
}
