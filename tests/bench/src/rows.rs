//! The rows of the headline, one module each.

pub(crate) mod accept;
mod decode;
mod earlier;
mod experiments;
mod flames;
mod hot;
mod hot_designs;
mod idle;
mod price;
pub(crate) mod relay_poll;
mod relay_wal;
mod rest;
mod resume;
mod streams;
mod wait;
mod whole;

use std::path::PathBuf;

use crate::figures::Figure;
use crate::kafka::Kafka;
use crate::servers::Servers;

/// A row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    Accept,
    RelayPoll,
    RelayWal,
    Whole,
    Hot,
    HotDesigns,
    Idle,
    Rest,
    Resume,
    Wait,
    Streams,
    Price,
    Earlier,
    Experiments,
    Flames,
    Decode,
}

/// What a row has to know.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) kafka: Kafka,
    /// The folder of the services' binaries.
    pub(crate) binaries: PathBuf,
    /// Whether it is to take seconds.
    pub(crate) quick: bool,
    /// A file of real orders.
    pub(crate) orders: Option<PathBuf>,
    /// Where the results go.
    pub(crate) out: PathBuf,
}

/// What a row measured.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) figures: Vec<Figure>,
    pub(crate) notes: Vec<String>,
}

impl Row {
    /// In the order in which they run.
    pub(crate) const ALL: [Self; 16] = [
        Self::Accept,
        Self::RelayPoll,
        Self::RelayWal,
        Self::Whole,
        Self::Hot,
        Self::HotDesigns,
        Self::Idle,
        Self::Rest,
        Self::Resume,
        Self::Wait,
        Self::Streams,
        Self::Price,
        Self::Earlier,
        Self::Experiments,
        Self::Flames,
        Self::Decode,
    ];

    /// Whether it runs only when it is named: it needs what is built or run for it alone.
    pub(crate) const fn is_by_name_only(self) -> bool {
        matches!(self, Self::Price | Self::Earlier | Self::Experiments | Self::Flames | Self::Decode)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Accept => accept::NAME,
            Self::RelayPoll => relay_poll::NAME,
            Self::RelayWal => relay_wal::NAME,
            Self::Whole => whole::NAME,
            Self::Hot => hot::NAME,
            Self::HotDesigns => hot_designs::NAME,
            Self::Idle => idle::NAME,
            Self::Rest => rest::NAME,
            Self::Resume => resume::NAME,
            Self::Wait => wait::NAME,
            Self::Streams => streams::NAME,
            Self::Price => price::NAME,
            Self::Earlier => earlier::NAME,
            Self::Experiments => experiments::NAME,
            Self::Flames => flames::NAME,
            Self::Decode => decode::NAME,
        }
    }

    pub(crate) const fn measures(self) -> &'static str {
        match self {
            Self::Accept => accept::MEASURES,
            Self::RelayPoll => relay_poll::MEASURES,
            Self::RelayWal => relay_wal::MEASURES,
            Self::Whole => whole::MEASURES,
            Self::Hot => hot::MEASURES,
            Self::HotDesigns => hot_designs::MEASURES,
            Self::Idle => idle::MEASURES,
            Self::Rest => rest::MEASURES,
            Self::Resume => resume::MEASURES,
            Self::Wait => wait::MEASURES,
            Self::Streams => streams::MEASURES,
            Self::Price => price::MEASURES,
            Self::Earlier => earlier::MEASURES,
            Self::Experiments => experiments::MEASURES,
            Self::Flames => flames::MEASURES,
            Self::Decode => decode::MEASURES,
        }
    }

    pub(crate) const fn beside(self) -> &'static str {
        match self {
            Self::Accept => accept::BESIDE,
            Self::RelayPoll => relay_poll::BESIDE,
            Self::RelayWal => relay_wal::BESIDE,
            Self::Whole => whole::BESIDE,
            Self::Hot => hot::BESIDE,
            Self::HotDesigns => hot_designs::BESIDE,
            Self::Idle => idle::BESIDE,
            Self::Rest => rest::BESIDE,
            Self::Resume => resume::BESIDE,
            Self::Wait => wait::BESIDE,
            Self::Streams => streams::BESIDE,
            Self::Price => price::BESIDE,
            Self::Earlier => earlier::BESIDE,
            Self::Experiments => experiments::BESIDE,
            Self::Flames => flames::BESIDE,
            Self::Decode => decode::BESIDE,
        }
    }

    pub(crate) async fn run(self, setting: &Setting, servers: &Servers) -> anyhow::Result<Measured> {
        match self {
            Self::Accept => accept::run(setting, servers).await,
            Self::RelayPoll => relay_poll::run(setting, servers).await,
            Self::RelayWal => relay_wal::run(setting, servers).await,
            Self::Whole => whole::run(setting, servers).await,
            Self::Hot => hot::run(setting, servers).await,
            Self::HotDesigns => hot_designs::run(setting, servers).await,
            Self::Idle => idle::run(setting, servers).await,
            Self::Rest => rest::run(setting, servers).await,
            Self::Resume => resume::run(setting, servers).await,
            Self::Wait => wait::run(setting, servers).await,
            Self::Streams => streams::run(setting, servers).await,
            Self::Price => price::run(setting).await,
            Self::Earlier => earlier::run(setting, servers).await,
            Self::Experiments => experiments::run(setting).await,
            Self::Flames => flames::run(setting, servers).await,
            Self::Decode => decode::run(),
        }
    }
}

impl Setting {
    /// A number for a whole run, or one of a hundred for a quick one.
    pub(crate) fn scaled(&self, full: u64) -> u64 {
        if self.quick { (full / 100).max(1) } else { full }
    }

    /// Seconds of a whole run, or three for a quick one.
    pub(crate) fn seconds(&self, full: u64) -> std::time::Duration {
        std::time::Duration::from_secs(if self.quick { full.min(3) } else { full })
    }
}
