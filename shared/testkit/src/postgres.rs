//! A private PostgreSQL server, and fresh databases cloned from a migrated template.
