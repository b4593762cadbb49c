-- The outbox: messages that were committed together with the state they announce (docs/adr/0017).

-- CACHE 1 matters: ids drawn under an aggregate's lock must rise with its sequence, whichever connection draws them.
CREATE SEQUENCE outbox.message_ids AS bigint CACHE 1;

-- Read by every relay: key, value and headers are complete, a relay copies them. Ids are drawn before the insert.
CREATE TABLE outbox.messages (
    id             bigint      PRIMARY KEY,
    previous_id    bigint,
    topic          text        NOT NULL,
    key            bytea,
    sequence       bigint,
    value          bytea,
    event_id       uuid,
    event_type     text,
    source         text,
    subject        text,
    event_time     timestamptz,
    correlation_id uuid,
    causation_id   uuid,
    user_id        text,
    traceparent    text,
    tracestate     text,
    header_names   text[],
    header_values  bytea[],
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    transaction_id xid8        NOT NULL DEFAULT pg_current_xact_id(),
    finished_at    timestamptz,
    CONSTRAINT messages_previous_id_check CHECK (previous_id < id),
    CONSTRAINT messages_first_of_its_key_check CHECK (sequence IS NULL OR (sequence = 1) = (previous_id IS NULL)),
    CONSTRAINT messages_sequence_check CHECK (sequence > 0),
    CONSTRAINT messages_event_check CHECK (
        num_nulls(sequence, event_id, event_type, source, subject, event_time, correlation_id) IN (0, 7)),
    CONSTRAINT messages_headers_check CHECK (
        cardinality(header_names) IS NOT DISTINCT FROM cardinality(header_values)
        AND coalesce(array_ndims(header_names), 1) = 1 AND coalesce(array_ndims(header_values), 1) = 1
        AND array_position(header_names, NULL) IS NULL AND array_position(header_values, NULL) IS NULL)
) PARTITION BY RANGE (id);

ALTER SEQUENCE outbox.message_ids OWNED BY outbox.messages.id;

COMMENT ON COLUMN outbox.messages.previous_id IS
    'The message before it of the same topic and key; null for the first one, and without a key.';
COMMENT ON COLUMN outbox.messages.sequence IS
    'The number of the event under its key, from 1; null where a topic has no sequences.';
COMMENT ON COLUMN outbox.messages.finished_at IS
    'When the polling relay learned that the broker had acknowledged the message. Ask outbox.unpublished() instead.';

-- What the polling relay reads: the unpublished messages of a topic in id order.
CREATE INDEX messages_unpublished_idx ON outbox.messages (topic, id) WHERE finished_at IS NULL;

-- Which ids lie in which table partition, and which were dropped because all of their messages were published.
CREATE TABLE outbox.table_partitions (
    first_id   bigint      PRIMARY KEY,
    end_id     bigint      NOT NULL UNIQUE,
    dropped_at timestamptz,
    CONSTRAINT table_partitions_check CHECK (first_id < end_id)
);

-- Keys that no relay publishes until a person has looked: delete the row to let the key go on. A message without a key
-- is blocked by its id.
CREATE TABLE outbox.blocked_keys (
    message_id bigint      PRIMARY KEY,
    topic      text        NOT NULL,
    key        bytea,
    reason     text        NOT NULL CHECK (reason IN ('rejected', 'gap')),
    detail     text        NOT NULL,
    blocked_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- By digest, so that a key of any length fits.
CREATE UNIQUE INDEX blocked_keys_topic_key_idx ON outbox.blocked_keys (topic, sha256(key));

-- The messages that are not known to be published: the one answer for backlog, alerts, dropping, verification
-- (docs/adr/0026). Inlined into the statement that asks.
CREATE FUNCTION outbox.unpublished() RETURNS SETOF outbox.messages LANGUAGE sql STABLE AS $$
    SELECT * FROM outbox.messages WHERE finished_at IS NULL
$$;

-- Messages go with their table partition. Against mistakes, not against the table's owner.
CREATE FUNCTION outbox.refuse_removal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'messages are not deleted: their table partition is dropped once all of it is published';
END
$$;
CREATE TRIGGER messages_are_kept BEFORE DELETE OR TRUNCATE ON outbox.messages
    FOR EACH STATEMENT EXECUTE FUNCTION outbox.refuse_removal();

-- Makes table partitions of 1,048,576 ids each until `ahead` of them lie before the next id; tells how many are there.
-- ATTACH blocks neither readers nor appends. One replica at a time: whoever comes second has nothing to do.
CREATE FUNCTION outbox.add_table_partitions(ahead integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    width CONSTANT bigint := 1048576;
    last_id  bigint;
    first_id bigint;
    name     text;
BEGIN
    SELECT last_value INTO last_id FROM outbox.message_ids;
    IF pg_try_advisory_xact_lock(hashtext('outbox.table_partitions')) THEN
        SELECT coalesce(max(p.end_id), 0) INTO first_id FROM outbox.table_partitions p;
        WHILE first_id <= last_id + (ahead - 1) * width LOOP
            name := 'messages_' || first_id / width;
            EXECUTE format(
                'CREATE TABLE outbox.%I (LIKE outbox.messages INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
                 WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000)', name);
            EXECUTE format(
                'ALTER TABLE outbox.messages ATTACH PARTITION outbox.%I FOR VALUES FROM (%s) TO (%s)',
                name, first_id, first_id + width);
            EXECUTE format(
                'CREATE TRIGGER messages_are_kept BEFORE DELETE OR TRUNCATE ON outbox.%I
                 FOR EACH STATEMENT EXECUTE FUNCTION outbox.refuse_removal()', name);
            INSERT INTO outbox.table_partitions (first_id, end_id) VALUES (first_id, first_id + width);
            first_id := first_id + width;
        END LOOP;
    END IF;
    RETURN (SELECT count(*) FROM outbox.table_partitions p WHERE p.end_id > last_id AND p.dropped_at IS NULL);
END
$$;

-- Drops the oldest table partition of which every message is published and older than `retention`; tells its first id,
-- or null where there is none. The caller bounds lock and statement.
CREATE FUNCTION outbox.drop_table_partition(retention interval) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    width CONSTANT bigint := 1048576;
    last_id   bigint;
    candidate record;
    newest    timestamptz;
    before    pg_snapshot;
BEGIN
    -- Each statement below needs a snapshot of its own.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'outbox.drop_table_partition needs the isolation level READ COMMITTED';
    END IF;
    SELECT last_value INTO last_id FROM outbox.message_ids;
    FOR candidate IN
        SELECT p.first_id, p.end_id FROM outbox.table_partitions p
        WHERE p.dropped_at IS NULL AND p.end_id <= last_id ORDER BY p.first_id
    LOOP
        SELECT m.created_at INTO newest FROM outbox.messages m
        WHERE m.id >= candidate.first_id AND m.id < candidate.end_id ORDER BY m.id DESC LIMIT 1;
        EXIT WHEN newest >= clock_timestamp() - retention;
        before := pg_current_snapshot();
        CONTINUE WHEN EXISTS (
            SELECT FROM outbox.unpublished() u WHERE u.id >= candidate.first_id AND u.id < candidate.end_id);
        -- From here on nobody reads or appends.
        LOCK TABLE ONLY outbox.messages IN ACCESS EXCLUSIVE MODE;
        -- What was committed between the look and the lock.
        IF EXISTS (
            SELECT FROM outbox.unpublished() u
            WHERE u.id >= candidate.first_id AND u.id < candidate.end_id
              AND u.transaction_id >= pg_snapshot_xmin(before))
        THEN
            RETURN NULL;
        END IF;
        UPDATE outbox.table_partitions p SET dropped_at = clock_timestamp() WHERE p.first_id = candidate.first_id;
        EXECUTE format('DROP TABLE outbox.%I', 'messages_' || candidate.first_id / width);
        RETURN candidate.first_id;
    END LOOP;
    RETURN NULL;
END
$$;

-- Both act with their owner's rights. A service that is not the owner of the tables needs a GRANT.
REVOKE EXECUTE ON FUNCTION outbox.add_table_partitions(integer), outbox.drop_table_partition(interval) FROM PUBLIC;

SELECT outbox.add_table_partitions(4);
