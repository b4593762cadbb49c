//! One conformance suite for every bus: in memory, Kafka's protocol on the embedded broker, and a real Kafka.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod absence;
mod faults;
mod harness;
mod idle;
mod killed;
mod leaders;
mod member;
mod memory;
mod refusals;
mod resets;
mod suite;
mod throughput;

/// Runs each behaviour of the suite against each bus.
macro_rules! conformance {
    ($($file:ident { $($behaviour:ident)* })*) => {
        mod in_memory {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                crate::suite::$file::$behaviour(&crate::harness::InMemory::default()).await;
            })*)*
        }
        mod embedded {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                crate::suite::$file::$behaviour(&crate::harness::Embedded::start()).await;
            })*)*
        }
        mod kafka {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs a Kafka: make test-kafka"]
            async fn $behaviour() {
                crate::suite::$file::$behaviour(&crate::harness::Real::from_environment()).await;
            })*)*
        }
    };
}

conformance! {
    publishing {
        bytes_and_headers_arrive_as_they_were_sent
        a_record_without_a_key_goes_to_the_partition_that_its_sender_names
        records_without_key_or_value_arrive_as_such
        keys_go_where_the_java_client_puts_them
        records_of_a_key_keep_their_order
        dropping_a_producer_resolves_its_receipts
        a_flush_waits_for_receipts_and_no_longer_than_told
        a_record_for_a_topic_that_does_not_exist_is_not_acknowledged
    }
    reading {
        nothing_is_delivered_before_the_first_seek
        batches_are_bounded_and_continue_where_the_last_one_ended
        a_seek_drops_what_was_buffered
        waiting_can_be_cancelled_without_losing_a_record
        a_slow_reader_misses_nothing
        a_position_above_the_range_is_an_error_until_it_is_left
        a_position_below_the_range_is_an_error_until_it_is_left
        a_record_is_read_soon_after_it_was_sent
    }
    holes {
        a_reader_comes_to_the_end_behind_the_markers_of_transactions
        a_reader_that_begins_before_a_marker_comes_to_the_end
        a_seek_back_over_a_marker_gives_every_record_again
    }
    groups {
        each_record_reaches_one_member_of_each_group
        what_was_not_stored_before_a_crash_is_delivered_again
        members_share_the_partitions_as_they_join_and_leave
        a_pattern_takes_in_topics_that_are_created_later
        commits_are_visible_to_lag_tools
        what_a_group_has_committed_is_told_to_whoever_is_no_member
        closing_ends_every_handle
    }
    topics {
        creating_topics_again_changes_nothing
        a_topic_with_another_partition_count_is_refused
        watermarks_tell_what_a_topic_holds
        the_partitions_of_a_topic_are_told
        a_ping_is_answered_by_a_broker_only
        an_outage_is_waited_out
    }
}
