//! order against a real PostgreSQL.

#[cfg(test)]
mod stored_events;
