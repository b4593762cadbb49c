-- What each member of the consumer group reaches, told every few seconds (docs/adr/0024). A row is a hint with an age: it may be
-- missing, and its member may be gone.
CREATE TABLE inbox.members (
    member    uuid        PRIMARY KEY,
    seen_at   timestamptz NOT NULL,
    in_group  boolean     NOT NULL,
    -- Partitions whose leaders do not answer it: topic/partition.
    unreached text[]      NOT NULL
);
