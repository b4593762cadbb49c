//! `make bench`: what the system costs, beside what its parts cost, measured on real components in one run.

pub mod cli;
mod cost;
mod curves;
mod deployment;
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
mod scenario;
mod servers;
mod service_process;
mod system;
mod topics;
mod waiting_events;
mod waiting_rows;
mod watermill;
mod without;
