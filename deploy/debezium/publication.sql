-- What Debezium reads of the outbox, and as whom: run once in the database of the service, by the owner of outbox.messages, before
-- Debezium starts. The server needs wal_level = logical.

-- Only the topics that Debezium serves. Topics of dead letters stay with the polling relay (docs/adr/0026).
CREATE PUBLICATION outbox FOR TABLE outbox.messages WHERE (topic IN ('tidings.orders'))
    WITH (publish = 'insert', publish_via_partition_root = true);

-- The slot comes before the first start: what commits from here on is published, and nothing of before. Its name is unique in the
-- server, not only in the database.
SELECT pg_create_logical_replication_slot('outbox_order', 'pgoutput');
