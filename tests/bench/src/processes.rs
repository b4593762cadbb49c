//! What processes have used: CPU time and memory, as Linux shows them (proc_pid_stat(5), proc_pid_status(5)).

use std::fs;

/// The unit of CPU times under /proc: 100 a second on every architecture of the supported distributions.
const TICKS_PER_SECOND: f64 = 100.0;

/// Memory of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) rss_mb: f64,
    /// What no file backs: the heap and the stacks.
    pub(crate) anonymous_mb: f64,
}

/// Seconds of CPU time that the process has used, user and system; 0 once it is gone.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    fields(pid).map(|fields| ticks(&fields, &[14, 15])).unwrap_or_default()
}

/// The same of a server and its children, dead ones included: PostgreSQL has a process for each connection.
pub(crate) fn cpu_seconds_of_tree(pid: u32) -> f64 {
    let own = fields(pid).map(|fields| ticks(&fields, &[14, 15, 16, 17])).unwrap_or_default();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    own + children.split_whitespace().filter_map(|child| child.parse().ok()).map(cpu_seconds).sum::<f64>()
}

/// The memory of the process; none once it is gone.
pub(crate) fn memory(pid: u32) -> Memory {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mb = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kb = line.and_then(|rest| rest.split_whitespace().next()).and_then(|kb| kb.parse::<f64>().ok());
        kb.unwrap_or_default() / 1_024.0
    };
    Memory { rss_mb: mb("VmRSS:"), anonymous_mb: mb("RssAnon:") }
}

/// The fields of /proc/PID/stat behind the program's name, which may hold anything: state, field 3, is the first.
fn fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}

fn ticks(fields: &[String], numbers: &[usize]) -> f64 {
    let tick = |number: &usize| fields.get(number - 3).and_then(|ticks| ticks.trim().parse::<f64>().ok());
    numbers.iter().filter_map(tick).sum::<f64>() / TICKS_PER_SECOND
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn cpu_time_and_memory_of_a_process_are_seen_and_a_dead_child_counts_for_its_parent() {
        let own = std::process::id();
        let before = cpu_seconds_of_tree(own);
        let script = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
        assert!(Command::new("/bin/sh").args(["-c", script]).status().unwrap().success());
        assert!(cpu_seconds_of_tree(own) > before);
        let memory = memory(own);
        assert!(memory.rss_mb > memory.anonymous_mb && memory.anonymous_mb > 0.0, "{memory:?}");
        assert_eq!(cpu_seconds(u32::MAX), 0.0);
    }
}
