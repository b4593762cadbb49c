//! `make bench`: what the system costs, beside what its parts cost, measured on real components in one run.

pub mod cli;
mod curves;
pub mod figures;
mod kafka;
mod latencies;
mod load;
mod machine;
mod pages;
mod peer_relay;
mod pgbench;
mod plot;
mod processes;
mod raw_producer;
mod recorded;
mod report;
mod rows;
mod servers;
mod service_process;
mod system;
mod waiting_rows;
