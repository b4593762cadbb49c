//! `tidings addresses`: where the parts of the running system are.

use anyhow::{Context, bail};

use crate::services::ServiceName;
use crate::state::RunningSystem;
use crate::up::databases::without_password;

/// A part of the system and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// What the command calls it.
    pub name: String,
    /// A URL, or `HOST:PORT`.
    pub address: String,
    /// What else a reader should know.
    pub note: String,
}

/// All parts: the services, then what they run on. Addresses have their passwords only `with_password`.
pub fn of(system: &RunningSystem, with_password: bool) -> Vec<Address> {
    let address = |name: &str, address: &str, note: String| Address {
        name: name.to_owned(),
        address: address.to_owned(),
        note,
    };
    let (mut services, beside): (Vec<_>, Vec<_>) =
        system.services.iter().partition(|(name, _)| ServiceName::named(name).is_some());
    services.sort_by_key(|(name, _)| ServiceName::named(name));
    services.extend(beside);
    let documentation =
        |name: &str, url: &str| ServiceName::named(name).map(|_| format!("{url}/docs")).unwrap_or_default();
    let mut addresses: Vec<Address> =
        services.into_iter().map(|(name, url)| address(name, url, documentation(name, url))).collect();
    let database = if with_password { system.postgres.clone() } else { without_password(&system.postgres) };
    addresses.push(address("database", &database, "databases tidings_order, ...".to_owned()));
    addresses.push(address("kafka", &system.kafka, format!("topics {}.*", system.topics_prefix)));
    let url = |url: &str| if with_password { url.to_owned() } else { redaction::url(url) };
    addresses.push(address("registry", &url(&system.registry), String::new()));
    if let Some(traces) = &system.traces {
        addresses.push(address("traces", &url(traces), "tidings trace ORDER_ID".to_owned()));
    }
    addresses.push(address("logs", &system.logs.display().to_string(), String::new()));
    addresses
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = format!("{:<13} {:<28} {}", self.name, self.address, self.note);
        f.write_str(line.trim_end())
    }
}

/// What the command prints: all parts of the running system `system`, or the address of the one called `name`.
///
/// # Errors
/// When no system runs, or it has no such part.
pub fn run(system: Option<&str>, name: Option<&str>, with_password: bool) -> anyhow::Result<String> {
    let system = RunningSystem::find(system)?.context("no system runs here; `tidings up` starts one")?;
    print(&of(&system, with_password), name)
}

fn print(addresses: &[Address], name: Option<&str>) -> anyhow::Result<String> {
    let Some(name) = name else {
        return Ok(addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    };
    match addresses.iter().find(|part| part.name == name) {
        Some(part) => Ok(part.address.clone()),
        None => {
            let names: Vec<&str> = addresses.iter().map(|part| part.name.as_str()).collect();
            bail!("the running system has no part {name:?}; it has: {}", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system() -> RunningSystem {
        let services = ["payment", "order", "loyalty", "analytics"];
        RunningSystem {
            pid: 1,
            start_ticks: None,
            services: services.map(|name| (name.to_owned(), format!("http://127.0.0.1/{name}"))).into(),
            postgres: "postgres://me:hunter2@127.0.0.1:5432/postgres".to_owned(),
            kafka: "127.0.0.1:9092".to_owned(),
            registry: "http://127.0.0.1:8085".to_owned(),
            topics_prefix: "tidings".to_owned(),
            logs: "/tmp/logs".into(),
            traces: None,
        }
    }

    #[test]
    fn services_come_first_in_their_order_and_programs_beside_them_after() {
        let names: Vec<String> = of(&system(), false).into_iter().map(|part| part.name).collect();
        assert_eq!(
            names,
            ["order", "payment", "analytics", "loyalty", "database", "kafka", "registry", "logs"]
        );
    }

    #[test]
    fn the_password_is_printed_only_when_asked_for() {
        let all = |with_password| print(&of(&system(), with_password), None).unwrap();
        assert!(!all(false).contains("hunter2"), "{}", all(false));
        assert!(all(false).contains("postgres://me@127.0.0.1:5432/postgres"), "{}", all(false));
        let one = print(&of(&system(), true), Some("database")).unwrap();
        assert_eq!(one, "postgres://me:hunter2@127.0.0.1:5432/postgres");
    }

    #[test]
    fn an_unknown_part_is_answered_with_the_known_ones() {
        let error = print(&of(&system(), false), Some("postgres")).unwrap_err().to_string();
        assert!(error.contains("\"postgres\"") && error.contains("database, kafka, registry"), "{error}");
    }
}
