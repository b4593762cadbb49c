//! Progress, watched: a partition of ours that has work and does not move for a while is stalled, whatever its own state.

use std::collections::BTreeMap;
use std::time::Duration;

use messaging::TopicPartition;
use tokio::time::Instant;

use crate::lag::Look;
use crate::status::PartitionState;

/// When each assigned partition has moved last.
#[derive(Debug, Default)]
pub(crate) struct Watchdog {
    moved: BTreeMap<TopicPartition, (Option<i64>, Instant)>,
}

impl Watchdog {
    /// The assigned partitions that have work and have not moved for `limit`. What a leader that does not answer holds is not
    /// known, and taken for work.
    pub(crate) fn stalled(
        &mut self,
        assigned: &BTreeMap<TopicPartition, PartitionState>,
        look: &Look,
        limit: Duration,
        now: Instant,
    ) -> Vec<TopicPartition> {
        self.moved.retain(|partition, _| assigned.contains_key(partition));
        let mut stalled = Vec::new();
        for (partition, state) in assigned {
            let lag = look.lags.iter().find(|lag| lag.partition == *partition);
            let applied = look.applied.iter().find(|applied| applied.partition == *partition);
            let unreached = look.reach.as_ref().is_some_and(|reach| reach.unreached.contains(partition));
            // A partition that retries has work, also while its lag is unknown.
            let has_work = match state {
                PartitionState::Retrying { .. } => true,
                PartitionState::Running { .. } | PartitionState::Stalled { .. } => {
                    unreached || lag.is_some_and(|lag| lag.records > 0)
                }
                PartitionState::Stopped { .. } => false,
            };
            let (position, since) = self.moved.entry(partition.clone()).or_insert((None, now));
            let reported = applied.map(|applied| applied.next_offset).or(lag.map(|lag| lag.next_offset));
            let next_offset = reported.or(*position);
            if !has_work || next_offset != *position {
                (*position, *since) = (next_offset, now);
            } else if now.duration_since(*since) >= limit {
                stalled.push(partition.clone());
            }
        }
        stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lag::Lag;
    use crate::members::Reach;

    const LIMIT: Duration = Duration::from_secs(30);

    fn partition() -> TopicPartition {
        TopicPartition { topic: "example.parcels".to_owned(), partition: 3 }
    }

    fn lag(next_offset: i64, records: i64) -> Look {
        Look { lags: vec![Lag { partition: partition(), next_offset, records }], ..Look::default() }
    }

    fn unreached() -> Look {
        let reach = Reach { unreached: [partition()].into(), ..Reach::default() };
        Look { reach: Some(reach), ..Look::default() }
    }

    fn running() -> PartitionState {
        PartitionState::Running { next_offset: 0 }
    }

    fn retrying() -> PartitionState {
        PartitionState::Retrying { attempts: 1, error: String::new() }
    }

    /// Looks every ten seconds; returns the looks at which the partition was stalled.
    fn stalled_at(looks: Vec<(PartitionState, Look)>) -> Vec<usize> {
        let (mut watchdog, began) = (Watchdog::default(), Instant::now());
        let mut stalled = Vec::new();
        for (number, (state, look)) in (0_u32..).zip(looks) {
            let assigned = BTreeMap::from([(partition(), state)]);
            let now = began + Duration::from_secs(10) * number;
            if !watchdog.stalled(&assigned, &look, LIMIT, now).is_empty() {
                stalled.push(number as usize);
            }
        }
        stalled
    }

    #[test]
    fn work_that_does_not_move_is_a_stall_and_moving_ends_it() {
        let mut looks: Vec<_> = (0..6).map(|_| (running(), lag(7, 2))).collect();
        looks.extend([(running(), lag(8, 1)), (running(), lag(8, 1)), (running(), lag(9, 0))]);
        assert_eq!(stalled_at(looks), [3, 4, 5]);
    }

    #[test]
    fn no_work_is_no_stall_however_long() {
        assert_eq!(stalled_at((0..9).map(|_| (running(), lag(7, 0))).collect()), Vec::<usize>::new());
        let stopped = || PartitionState::Stopped { error: String::new() };
        assert_eq!(stalled_at((0..9).map(|_| (stopped(), lag(7, 5))).collect()), Vec::<usize>::new());
    }

    #[test]
    fn work_that_keeps_moving_is_no_stall_however_much() {
        assert_eq!(
            stalled_at((0..9).map(|look| (running(), lag(look, 1_000))).collect()),
            Vec::<usize>::new()
        );
    }

    #[test]
    fn whoever_retries_is_stalled_also_while_nobody_tells_how_much_there_is() {
        let mut looks = vec![(running(), lag(7, 0))];
        looks.extend((0..5).map(|_| (retrying(), Look::default())));
        assert_eq!(stalled_at(looks), [3, 4, 5]);
    }

    #[test]
    fn a_leader_that_does_not_answer_is_a_stall_and_its_answer_ends_it() {
        let mut looks = vec![(running(), lag(7, 0))];
        looks.extend((0..5).map(|_| (running(), unreached())));
        looks.push((running(), lag(7, 0)));
        assert_eq!(stalled_at(looks), [3, 4, 5]);
    }
}
