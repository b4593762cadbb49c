//! What a unit of work costs: of time, and of the CPU time of a service and of PostgreSQL.

use std::time::Duration;

use crate::figures::Figure;
use crate::processes::{cpu_seconds, cpu_seconds_of_tree};
use crate::servers::Servers;

/// What a unit costs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Units per second.
    pub(crate) per_second: f64,
    /// Microseconds of the service's CPU time for one.
    pub(crate) cpu_us: f64,
    /// The same of PostgreSQL.
    pub(crate) postgres_us: f64,
}

/// The CPU time that was used when a measurement began.
pub(crate) struct Used<'a> {
    servers: &'a Servers,
    pids: Vec<u32>,
    services_s: f64,
    postgres_s: f64,
}

impl<'a> Used<'a> {
    /// By the processes of a service, and by PostgreSQL.
    pub(crate) fn now(servers: &'a Servers, pids: &[u32]) -> Self {
        Self {
            servers,
            pids: pids.to_vec(),
            services_s: pids.iter().copied().map(cpu_seconds).sum(),
            postgres_s: cpu_seconds_of_tree(servers.postmaster()),
        }
    }

    /// The cost of so many units that took so long since.
    pub(crate) fn cost(&self, units: f64, took: Duration) -> Cost {
        let now = Self::now(self.servers, &self.pids);
        let units = units.max(1.0);
        Cost {
            per_second: units / took.as_secs_f64().max(0.001),
            cpu_us: (now.services_s - self.services_s) * 1e6 / units,
            postgres_us: (now.postgres_s - self.postgres_s) * 1e6 / units,
        }
    }
}

impl Cost {
    /// The figures: what was done, to units of which kind, by which service.
    pub(crate) fn figures(&self, done: &str, unit: &str, service: &str) -> Vec<Figure> {
        vec![
            Figure::new(done, &format!("{unit}s/s"), self.per_second),
            Figure::new(format!("CPU of {service} for {}", article(unit)), "us", self.cpu_us),
            Figure::new(format!("CPU of PostgreSQL for {}", article(unit)), "us", self.postgres_us),
        ]
    }

    /// The slower one of two.
    pub(crate) fn slower(self, other: Self) -> Self {
        if other.per_second < self.per_second { other } else { self }
    }
}

fn article(unit: &str) -> String {
    format!("{} {unit}", if unit.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_name_what_was_done_and_the_slower_of_two_costs_counts() {
        let fast = Cost { per_second: 10.0, cpu_us: 1.0, postgres_us: 2.0 };
        let slow = Cost { per_second: 9.0, ..fast };
        assert_eq!((fast.slower(slow).per_second, slow.slower(fast).per_second), (9.0, 9.0));
        let figures = fast.figures("applied", "event", "inventory");
        let named: Vec<(&str, &str)> =
            figures.iter().map(|figure| (figure.name.as_str(), figure.unit.as_str())).collect();
        assert_eq!(named[0], ("applied", "events/s"));
        assert_eq!(named[1], ("CPU of inventory for an event", "us"));
    }
}
