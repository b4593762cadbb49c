//! The conformance suite: each scenario runs once per kind of relay. What only one kind promises is tested beside it.

/// A module of tests per kind. A scenario that is in no list is dead code.
macro_rules! suite {
    (every_relay $every:tt ours $ours:tt) => {
        mod by_poll {
            suite! { @tests Poll [] $every }
            suite! { @tests Poll [] $ours }
        }
        mod by_wal {
            suite! { @tests Wal [] $every }
            suite! { @tests Wal [] $ours }
        }
        mod by_debezium {
            suite! { @tests Debezium [#[ignore = "needs Debezium Server and Kafka: make test-debezium"]] $every }
        }
    };
    (@tests $kind:ident $ignored:tt { $($flavor:ident { $($module:ident { $($scenario:ident)+ })+ })+ }) => {
        $($($(
            suite! { @test $flavor $kind $ignored $module $scenario }
        )+)+)+
    };
    (@test current_thread $kind:ident [$($ignored:tt)*] $module:ident $scenario:ident) => {
        #[tokio::test]
        $($ignored)*
        async fn $scenario() {
            let scenario = Box::pin(crate::$module::$scenario());
            crate::relays::KIND.scope(crate::relays::Kind::$kind, scenario).await;
        }
    };
    (@test multi_thread $kind:ident [$($ignored:tt)*] $module:ident $scenario:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $($ignored)*
        async fn $scenario() {
            let scenario = Box::pin(crate::$module::$scenario());
            crate::relays::KIND.scope(crate::relays::Kind::$kind, scenario).await;
        }
    };
}

// A scenario that needs only the table and a topic on Kafka is one of every relay. Ours are those that need what Debezium
// does not have or promise:
// - a bus or a partition that fails as the test says (faults, refusals, dead_partition, hand_over, one_key): Debezium has a
//   producer of its own, takes records in the order of commits whatever their key, and ends at a record that is refused;
// - blocked keys, and messages that are missing, have headers of their own, or are of a topic that is created later: it does
//   not look into the table, and reads the topics of its publication;
// - leadership, and an end that waits for what was committed: one process reads the slot, and the suite kills it;
// - `finished_at`, by which table partitions are dropped;
// - failpoints between two steps: it is killed while rows are appended instead.
suite! {
    every_relay {
        current_thread {
            append {
                what_is_appended_is_published_byte_by_byte_with_all_headers
            }
            faults {
                a_hole_in_the_ids_is_no_gap
            }
            poll {
                a_leader_whose_session_ends_takes_up_again
            }
            kills {
                a_relay_killed_while_rows_are_appended_repeats_but_never_skips
            }
            backlog {
                a_hundred_thousand_waiting_rows_are_published_in_sequence
            }
        }
        multi_thread {
            poll {
                every_interleaving_of_two_transactions_is_published_in_sequence
            }
        }
    }
    ours {
        current_thread {
            faults {
                a_lost_acknowledgement_repeats_and_keeps_the_order
                a_time_out_is_repeated_before_its_successor
                a_record_that_lands_late_comes_after_its_repetition_and_not_before_its_predecessor
                faults_at_every_record_in_turn_lose_nothing
                a_record_that_the_broker_refuses_blocks_its_key_and_no_other
                a_released_key_that_is_refused_again_is_blocked_again_under_the_same_relay
                records_refused_only_in_a_batch_are_published
                a_topic_that_cannot_be_written_costs_the_others_nothing
                an_unavailable_broker_is_waited_for
                a_message_that_is_missing_blocks_its_key_and_no_other
                any_message_can_be_blocked_without_stopping_the_relay
                a_message_that_is_no_event_is_published_as_it_is
                a_topic_that_is_missing_blocks_no_key_and_is_served_once_it_exists
            }
            refusals {
                a_refused_key_goes_on_by_itself_once_its_record_is_taken
                a_refused_key_is_tried_again_by_the_next_leader_too
                a_topic_that_refuses_everything_is_left_alone_as_one_and_goes_on_by_itself
                many_bad_records_in_succession_do_not_stop_their_topic
                a_record_tried_in_a_partition_without_an_answer_holds_up_no_other
                a_refused_record_costs_no_producer
            }
            dead_partition {
                the_rows_of_a_partition_without_a_leader_hold_up_no_others
                more_rows_than_a_read_brings_of_a_partition_without_a_leader_hide_no_others
                a_partition_without_a_leader_replaces_no_producer_and_is_reported
                records_of_one_partition_that_are_not_acknowledged_leave_the_others_their_producer
                a_look_for_leaders_without_an_answer_holds_up_no_other_partition
                messages_without_a_key_go_to_partitions_that_take_them
            }
            one_key {
                a_key_with_a_long_backlog_holds_up_no_others_of_its_partition
                a_long_backlog_is_published_in_sequence_although_a_record_in_it_fails
            }
            hand_over {
                a_leader_without_its_broker_gives_the_lock_to_a_standby_that_has_it
                a_standby_that_reaches_less_is_no_evidence
                with_all_relays_cut_off_nobody_gives_up
                a_partition_without_a_leader_leaves_the_lock_where_it_is
                a_leader_without_a_producer_gives_up_too
                a_leader_that_never_learned_its_partitions_gives_up_too
                who_gave_up_leads_again_when_nobody_else_does
                a_relay_that_reaches_less_leaves_the_lead_to_one_that_lost_its_session
            }
            poll {
                two_relays_at_once_publish_in_sequence_and_either_can_end
                a_shutdown_drains_what_was_committed_before
            }
            table_partitions {
                a_partition_is_dropped_once_it_is_published_and_old_and_its_keys_go_on
            }
        }
        multi_thread {
            processes {
                a_relay_killed_after_any_step_repeats_but_never_skips
                a_leader_frozen_after_any_step_is_replaced_and_does_no_harm_when_thawed
            }
        }
    }
}
