//! The ports on which the services will listen: the default ones, or free ones; and who holds those that are taken.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;

use anyhow::{Context, bail};
use embedded::ports::ReservedPort;

use crate::services::ServiceName;

/// How many ports after those of the five services are tried for programs beside them.
const FURTHER: u16 = 100;

/// Which ports are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ports {
    /// 8080 to 8084.
    #[default]
    Default,
    /// Free ones.
    Auto,
}

/// A port for each service, kept free for it.
///
/// # Errors
/// When a default port is taken: the message names it, and the process that holds it as far as that can be seen.
pub fn choose(ports: Ports) -> anyhow::Result<BTreeMap<ServiceName, ReservedPort>> {
    match ports {
        Ports::Default => default_ports(),
        Ports::Auto => free(),
    }
}

/// A port for each of so many programs beside the five services: the next free ones after theirs, or any.
///
/// # Errors
/// When there are not so many.
pub(super) fn beside(ports: Ports, count: usize) -> anyhow::Result<Vec<ReservedPort>> {
    let first = ServiceName::ALL.into_iter().map(ServiceName::default_port).max().unwrap_or_default() + 1;
    let mut candidates = first..first + FURTHER;
    let mut next = || match ports {
        Ports::Auto => ReservedPort::reserve(0).context("no free port"),
        Ports::Default => loop {
            let Some(port) = candidates.next() else {
                bail!("no port from {first} to {} is free; use --ports auto", first + FURTHER - 1);
            };
            match ReservedPort::reserve(port) {
                Ok(reserved) => return Ok(reserved),
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                Err(error) => return Err(error).with_context(|| format!("port {port}")),
            }
        },
    };
    (0..count).map(|_| next()).collect()
}

fn default_ports() -> anyhow::Result<BTreeMap<ServiceName, ReservedPort>> {
    let mut chosen = BTreeMap::new();
    let mut taken = Vec::new();
    for service in ServiceName::ALL {
        let port = service.default_port();
        match ReservedPort::reserve(port) {
            Ok(reserved) => drop(chosen.insert(service, reserved)),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                let holder =
                    holder(port).unwrap_or_else(|| "a process that can't be seen from here".to_owned());
                taken.push(format!("port {port} (for {service}) is in use by {holder}"));
            }
            Err(error) => return Err(error).with_context(|| format!("port {port} (for {service})")),
        }
    }
    if !taken.is_empty() {
        bail!("{}; stop it, or use --ports auto", taken.join("; "));
    }
    Ok(chosen)
}

fn free() -> anyhow::Result<BTreeMap<ServiceName, ReservedPort>> {
    let reserve = |service| Ok((service, ReservedPort::reserve(0).context("no free port")?));
    ServiceName::ALL.into_iter().map(reserve).collect()
}

/// The process that listens on `port`, by Linux's /proc.
fn holder(port: u16) -> Option<String> {
    let inode = listening_inode(port)?;
    let link = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().filter(|name| name.bytes().all(|b| b.is_ascii_digit())) else {
            continue;
        };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds = files.flatten().any(|file| {
            fs::read_link(file.path()).is_ok_and(|target| target.to_str() == Some(link.as_str()))
        });
        if holds {
            let command = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("process {pid} ({})", command.trim()));
        }
    }
    None
}

/// The inode of the socket that listens on `port`, from the kernel's table (proc(5): state 0A is LISTEN).
fn listening_inode(port: u16) -> Option<String> {
    let suffix = format!(":{port:04X}");
    ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().find_map(|table| {
        let table = fs::read_to_string(table).ok()?;
        table.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
            (local.ends_with(&suffix) && *state == "0A").then(|| (*inode).to_owned())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_beside_the_five_get_free_ports_of_their_own() {
        for ports in [Ports::Default, Ports::Auto] {
            let mut numbers: Vec<u16> = beside(ports, 3).unwrap().iter().map(ReservedPort::number).collect();
            assert!(
                numbers.iter().all(|number| *number > ServiceName::Analytics.default_port()),
                "{numbers:?}"
            );
            numbers.dedup();
            assert_eq!(numbers.len(), 3, "{numbers:?}");
        }
    }

    #[test]
    #[cfg_attr(not(target_os = "linux"), ignore = "only Linux lets a port be held for somebody else")]
    fn a_port_in_use_is_passed_over() {
        let held = beside(Ports::Default, 1).unwrap();
        let taken = std::net::TcpListener::bind(held[0].address()).unwrap();
        let next = beside(Ports::Default, 1).unwrap();
        assert!(next[0].number() > held[0].number());
        drop(taken);
    }

    #[test]
    fn the_holder_of_a_port_is_named() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let holder = holder(listener.local_addr().unwrap().port()).unwrap();
        assert!(holder.contains(&std::process::id().to_string()), "{holder}");
    }
}
