//! Which row may follow which.

use super::*;
use crate::relay::row::row;

fn buffer(rows: usize) -> Buffer {
    let mut buffer = Buffer::new(Limit { rows, bytes: 1_000_000 });
    buffer.add_topic("orders", 1, 1);
    buffer
}

#[test]
fn a_row_follows_a_held_one_or_a_finished_one() {
    let mut buffer = buffer(10);
    assert_eq!(buffer.admit(&row(1, "a", None), 0, true), RowDecision::Admitted);
    assert_eq!(buffer.admit(&row(2, "a", Some(1)), 0, true), RowDecision::Admitted);
    buffer.release(&[1, 2]);
    let mut third = row(3, "a", Some(2));
    third.predecessor_published = Some(true);
    assert_eq!(buffer.admit(&third, 0, true), RowDecision::Admitted);
}

#[test]
fn a_row_without_its_predecessor_blocks_its_key_and_no_other() {
    let mut buffer = buffer(10);
    assert_eq!(buffer.admit(&row(2, "a", Some(1)), 0, true), RowDecision::Gap);
    assert_eq!(buffer.admit(&row(3, "a", Some(2)), 0, true), RowDecision::Blocking);
    assert_eq!(buffer.admit(&row(4, "b", None), 0, true), RowDecision::Admitted);
    assert_eq!(buffer.admit(&row(5, "b", Some(3)), 0, true), RowDecision::Gap);
}

#[test]
fn an_acknowledged_row_is_left_out_until_the_table_knows() {
    let mut buffer = buffer(10);
    buffer.admit(&row(1, "a", None), 0, true);
    assert_eq!(buffer.ids(), [1]);
    buffer.release(&[1]);
    assert!(buffer.is_empty());
}

#[test]
fn a_row_whose_predecessor_appeared_late_waits_for_the_full_scan_that_brings_both() {
    let mut buffer = buffer(10);
    let mut second = row(7, "a", Some(5));
    second.predecessor_published = Some(false);
    assert_eq!(buffer.admit(&second, 0, false), RowDecision::NeedsFullScan);
    assert_eq!(buffer.admit(&row(5, "a", None), 0, true), RowDecision::Admitted);
    assert_eq!(buffer.admit(&second, 0, true), RowDecision::Admitted);
}

#[test]
fn a_row_whose_predecessor_a_full_scan_does_not_bring_is_a_gap() {
    let mut buffer = buffer(10);
    let mut second = row(5, "a", Some(3));
    second.predecessor_published = Some(false);
    assert_eq!(buffer.admit(&second, 0, true), RowDecision::Gap);
}

#[test]
fn a_row_of_the_log_follows_what_is_buffered_or_published_and_nothing_that_is_pending() {
    let mut buffer = buffer(10);
    let after =
        |id, previous_id, published| Row { predecessor_published: published, ..*row(id, "a", previous_id) };
    assert_eq!(buffer.admit_logged(&after(1, None, Some(true)), 0), Logged::Admitted);
    assert_eq!(buffer.admit_logged(&after(2, Some(1), Some(true)), 0), Logged::Admitted);
    assert_eq!(buffer.admit_logged(&after(1, None, Some(true)), 0), Logged::Again);
    buffer.release(&[1, 2]);
    assert_eq!(buffer.admit_logged(&after(4, Some(3), Some(false)), 0), Logged::Behind);
    assert_eq!(buffer.admit_logged(&after(3, Some(2), Some(true)), 0), Logged::Admitted);
    assert_eq!(buffer.make_pending(&row(3, "a", None)), [3]);
    assert!(!buffer.is_logged(3));
    buffer.release(&[3]);
    assert_eq!(buffer.admit_logged(&after(9, Some(8), None), 0), Logged::Gap);
    assert_eq!(buffer.admit_logged(&after(10, Some(9), Some(true)), 0), Logged::Behind);
}

#[test]
fn rows_without_a_key_follow_nobody() {
    let mut buffer = buffer(10);
    for id in [1, 2] {
        let alone = Row { key: None, ..*row(id, "", None) };
        assert_eq!(buffer.admit(&alone, 0, true), RowDecision::Admitted);
    }
}
