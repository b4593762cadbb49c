//! How far behind each partition is: its end on the topic, and its position in the database.

use database::{Database, Operation};
use messaging::{Bus, TopicPartition};

use crate::applied::{self, Applied};
use crate::ends::{Ends, ends_of};
use crate::members::Reach;
use crate::shared::Shared;

/// How far behind a partition is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lag {
    /// Which partition.
    pub partition: TopicPartition,
    /// The first offset that is not applied yet.
    pub next_offset: i64,
    /// Records on it that are not applied yet.
    pub records: i64,
}

/// How far behind this service is on the partitions of these topics, whichever replica reads them, and even if none does:
/// the positions are the database's. A partition whose end the broker does not return is left out.
///
/// # Errors
/// When the database does not return the positions.
pub async fn lag(database: &Database, bus: &dyn Bus, topics: &[String]) -> Result<Vec<Lag>, sqlx::Error> {
    // Positions first: what is applied meanwhile makes the lag look longer by a moment, never shorter.
    let applied = applied(database).await?;
    Ok(lags(&applied, &ends_of(bus, topics).await))
}

async fn applied(database: &Database) -> Result<Vec<Applied>, sqlx::Error> {
    let reading =
        database.connection(Operation::Sample, |mut conn| async move { applied::applied(&mut conn).await });
    reading.await
}

fn lags(applied: &[Applied], ends: &[Option<Ends>]) -> Vec<Lag> {
    let mut lags = Vec::new();
    for (partition, answer) in ends.iter().flatten().flatten() {
        match answer {
            Ok(marks) => {
                let position = applied.iter().find(|applied| applied.partition == *partition);
                let next_offset = position.map_or(marks.low, |applied| applied.next_offset);
                let records = (marks.high - next_offset).max(0);
                lags.push(Lag { partition: partition.clone(), next_offset, records });
            }
            Err(error) => tracing::debug!(?partition, %error, "the lag of a partition is not known"),
        }
    }
    lags
}

/// What one look at the partitions finds.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// Positions, unless the database does not answer.
    pub(crate) applied: Vec<Applied>,
    /// Those that are known.
    pub(crate) lags: Vec<Lag>,
    /// How many partitions each topic has, as far as the broker names them.
    pub(crate) counts: Vec<Option<usize>>,
    /// Unless the broker does not name all partitions.
    pub(crate) reach: Option<Reach>,
}

impl Look {
    pub(crate) async fn at(shared: &Shared, topics: &[String]) -> Self {
        let applied = applied(&shared.applier.database).await;
        let ends = ends_of(&*shared.bus, topics).await;
        let reach = Reach::of(&ends);
        let counts = ends.iter().map(|ends| ends.as_ref().map(Vec::len)).collect();
        match applied {
            Ok(applied) => Self { lags: lags(&applied, &ends), applied, counts, reach },
            Err(error) => {
                tracing::debug!(%error, "cannot read consumer lag");
                Self { counts, reach, ..Self::default() }
            }
        }
    }
}
