//! order against a real PostgreSQL: the API, the batches, the races, the deadlines.

#[cfg(test)]
mod arrivals;
#[cfg(test)]
mod corrupt_rows;
#[cfg(test)]
mod deadlines;
#[cfg(test)]
mod events;
#[cfg(test)]
mod groups;
#[cfg(test)]
mod http;
#[cfg(test)]
mod idempotency;
#[cfg(test)]
mod in_memory;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod newer_release;
#[cfg(test)]
mod races;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod stack;
#[cfg(test)]
mod stored_events;
#[cfg(test)]
mod waiting;
