//! An in-memory schema registry that speaks the part of the Confluent API that the system uses.
