//! The saga's worker, and the provider that it calls.

pub mod holders;
pub mod perform_steps;
pub mod provider;
pub mod saga_job;
