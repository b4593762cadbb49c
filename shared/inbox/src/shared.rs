//! What all parts of a consumer share.

use std::fmt;
use std::sync::Arc;

use messaging::Bus;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use crate::batch::Applier;
use crate::config::ConsumerConfig;
use crate::offers::Offers;
use crate::status::ConsumerStatus;

/// What all workers of a service share.
pub(crate) struct Shared {
    pub(crate) applier: Applier,
    /// The full names of the topics.
    pub(crate) topics: Vec<String>,
    /// How many partitions each of them has.
    pub(crate) partitions: i32,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) config: ConsumerConfig,
    pub(crate) status: ConsumerStatus,
    /// What its workers want to have applied together.
    pub(crate) offers: Offers,
    /// Places for transactions beside the joint one, of batches that fill them.
    pub(crate) alone: Semaphore,
    pub(crate) on_commit: Arc<dyn Fn() + Send + Sync>,
    /// What other members call this one.
    pub(crate) member: Uuid,
    /// Why this member is to be outside its group, if it is.
    pub(crate) given_up: watch::Sender<Option<Cause>>,
}

/// Why a membership is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The database does not answer this member, and others commit.
    Database,
    /// A partition's leader does not answer this member, and does another.
    Broker,
}

impl Cause {
    pub(crate) const ALL: [Self; 2] = [Self::Database, Self::Broker];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Broker => "broker",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Database => "the database does not answer this member, and other members commit",
            Self::Broker => "a partition's leader does not answer this member, and answers another member",
        })
    }
}
