//! Reports of the group's members in `inbox.members`, which partitions each reaches: hints with an age.

use std::collections::BTreeSet;
use std::time::Duration;

use database::{Database, Operation};
use messaging::TopicPartition;
use uuid::Uuid;

use crate::ends::Ends;

/// The partitions whose leaders answer a member, and those whose leaders do not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) reached: BTreeSet<TopicPartition>,
    pub(crate) unreached: BTreeSet<TopicPartition>,
}

impl Reach {
    /// None when the broker did not name the partitions of each topic.
    pub(crate) fn of(ends: &[Option<Ends>]) -> Option<Self> {
        let mut reach = Self::default();
        for of_topic in ends {
            for (partition, answer) in of_topic.as_ref()? {
                let part = if answer.is_ok() { &mut reach.reached } else { &mut reach.unreached };
                part.insert(partition.clone());
            }
        }
        Some(reach)
    }

    /// Whether one of these members reaches `partition` and everything that we reach.
    pub(crate) fn is_surpassed(&self, partition: &TopicPartition, others: &[BTreeSet<String>]) -> bool {
        let lacks = |unreached: &BTreeSet<String>| {
            std::iter::once(partition)
                .chain(&self.reached)
                .any(|needed| unreached.contains(&needed.to_string()))
        };
        others.iter().any(|unreached| !lacks(unreached))
    }
}

/// Writes which partitions this member reaches, and deletes the reports that are older than an hour.
///
/// # Errors
/// When the database fails.
pub(crate) async fn report(
    database: &Database,
    member: Uuid,
    in_group: bool,
    unreached: &BTreeSet<TopicPartition>,
) -> Result<(), sqlx::Error> {
    let unreached: Vec<String> = unreached.iter().map(ToString::to_string).collect();
    let reporting = database.connection(Operation::Sample, |mut conn| async move {
        sqlx::query(
            "INSERT INTO inbox.members (member, seen_at, in_group, unreached) VALUES ($1, now(), $2, $3)
             ON CONFLICT (member) DO UPDATE
             SET seen_at = excluded.seen_at, in_group = excluded.in_group, unreached = excluded.unreached",
        )
        .bind(member)
        .bind(in_group)
        .bind(unreached)
        .execute(&mut *conn)
        .await?;
        sqlx::query("DELETE FROM inbox.members WHERE seen_at < now() - interval '1 hour'")
            .execute(&mut *conn)
            .await?;
        Ok(())
    });
    reporting.await
}

/// The partitions that the other members do not reach, of those that are in the group by a recent report.
///
/// # Errors
/// When the database fails.
pub(crate) async fn others(
    database: &Database,
    member: Uuid,
    fresh_for: Duration,
) -> Result<Vec<BTreeSet<String>>, sqlx::Error> {
    let reading = database.connection(Operation::Sample, |mut conn| async move {
        sqlx::query_scalar::<_, Vec<String>>(
            "SELECT unreached FROM inbox.members
             WHERE member <> $1 AND in_group AND seen_at > now() - make_interval(secs => $2)",
        )
        .bind(member)
        .bind(fresh_for.as_secs_f64())
        .fetch_all(&mut *conn)
        .await
    });
    Ok(reading.await?.into_iter().map(BTreeSet::from_iter).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(partition: i32) -> TopicPartition {
        TopicPartition { topic: "example.parcels".to_owned(), partition }
    }

    fn lacking(partitions: &[i32]) -> BTreeSet<String> {
        partitions.iter().map(|number| partition(*number).to_string()).collect()
    }

    #[test]
    fn only_who_reaches_all_that_we_reach_and_the_partition_besides_surpasses_us() {
        let reach = Reach { reached: [1, 2].map(partition).into(), unreached: [0, 3].map(partition).into() };
        let surpassed = |others: &[&[i32]]| {
            reach.is_surpassed(&partition(0), &others.iter().map(|lacks| lacking(lacks)).collect::<Vec<_>>())
        };
        assert!(surpassed(&[&[]]));
        assert!(surpassed(&[&[3]]), "what neither reaches is no evidence");
        assert!(surpassed(&[&[0], &[]]), "one of them is enough");
        assert!(!surpassed(&[]));
        assert!(!surpassed(&[&[0]]));
        assert!(!surpassed(&[&[1]]));
        assert!(!surpassed(&[&[0], &[1]]), "two do not add up to one");
    }

    #[test]
    fn nothing_is_known_while_one_topic_is_not_named() {
        assert_eq!(Reach::of(&[Some(Vec::new()), None]), None);
        assert_eq!(Reach::of(&[Some(Vec::new())]), Some(Reach::default()));
    }
}
