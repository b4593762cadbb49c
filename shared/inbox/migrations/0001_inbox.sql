-- What this service has applied, how far it has read, and what it could not apply (docs/adr/0018, docs/adr/0019).

-- The topics that this service has ever read. Made with the first position of a topic, never deleted.
CREATE TABLE inbox.consumer_topics (
    topic       text    PRIMARY KEY,
    -- Which log under this name the positions belong to; it only rises.
    log         integer NOT NULL DEFAULT 1 CHECK (log > 0),
    -- Kafka's id of the topic (KIP-516), where the client tells it.
    topic_id    uuid,
    -- The floor when the topic was first read: an older id was not applied from it before.
    first_floor uuid    NOT NULL,
    -- Whether nothing is missing before the beginning of the log.
    whole       boolean NOT NULL DEFAULT true
);

-- How far each partition has been applied: the truth about our position, advanced in the batch's own transaction.
CREATE TABLE inbox.consumer_positions (
    topic                    text        NOT NULL,
    partition                integer     NOT NULL,
    next_offset              bigint      NOT NULL CHECK (next_offset >= 0),
    -- The log of the topic to which the offset belongs.
    log                      integer     NOT NULL DEFAULT 1,
    -- The record that was applied last: its offset, SHA-256 over its bytes, and its timestamp. Null before the first one.
    last_record_offset       bigint,
    last_record_leader_epoch integer,
    last_record_digest       bytea,
    last_record_at           timestamptz,
    -- The epochs of a topic that grows (docs/adr/0025).
    reached_epoch            integer     NOT NULL DEFAULT 1,
    topic_epoch              integer     NOT NULL DEFAULT 1,
    topic_partitions         integer,
    -- Why nothing is read any more; null while it goes on.
    stopped_reason           text,
    stopped_at               timestamptz,
    updated_at               timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition),
    CONSTRAINT consumer_positions_last_record_check CHECK ((last_record_offset IS NULL) = (last_record_digest IS NULL)),
    CONSTRAINT consumer_positions_stopped_check CHECK ((stopped_reason IS NULL) = (stopped_at IS NULL))
);

-- One row per record that was handled, and what became of it. A record without a readable id gets one that begins with ff.
-- Partitioned by the id itself (UUIDv7 is time), so that the primary key holds across table partitions and old ones are
-- dropped whole. Ids that belong to no week lie in the default partition, so that every id is remembered.
CREATE TABLE inbox.events (
    event_id     uuid        NOT NULL PRIMARY KEY,
    topic        text        NOT NULL,
    partition    integer     NOT NULL,
    "offset"     bigint      NOT NULL,
    log          integer     NOT NULL,
    processed_at timestamptz NOT NULL DEFAULT now(),
    outcome      text        NOT NULL CHECK (outcome IN (
        'applied', 'dead_lettered', 'redriven', 'discarded', 'undecidable', 'undecidable_redriven',
        'undecidable_discarded'))
) PARTITION BY RANGE (event_id);
CREATE TABLE inbox.events_default PARTITION OF inbox.events DEFAULT;

-- What deduplication reaches back to: an id below the floor may have been applied although no row says so.
CREATE TABLE inbox.deduplication (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    floor     uuid    NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    -- The end of the newest week that has a table partition.
    ceiling   uuid
);
INSERT INTO inbox.deduplication DEFAULT VALUES;

-- Keys that have or had dead letters: later records of a key wait behind its open ones. Whoever writes, checks or redrives a
-- letter locks the key's row, which is never deleted. By SHA-256, so that a key of any length fits.
CREATE TABLE inbox.dead_letter_keys (
    topic           text    NOT NULL,
    key_digest      bytea   NOT NULL,
    open_letters    integer NOT NULL CHECK (open_letters >= 0),
    -- The last message about the key on the dead letters' topic.
    last_message_id bigint,
    PRIMARY KEY (topic, key_digest)
);

-- The dead-letter queue: records that could not be applied, in the order in which they are redriven, with their exact bytes.
CREATE TABLE inbox.dead_letters (
    id                bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id          uuid        NOT NULL UNIQUE,
    topic             text        NOT NULL,
    partition         integer     NOT NULL,
    "offset"          bigint      NOT NULL,
    log               integer     NOT NULL,
    key               bytea,
    key_digest        bytea       GENERATED ALWAYS AS (sha256(key)) STORED,
    event_type        text,
    reason            text        NOT NULL,
    detail            text        NOT NULL,
    -- The same for letters that have the same cause.
    fingerprint       text        NOT NULL,
    attempts          integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    dead_lettered_at  timestamptz NOT NULL DEFAULT now(),
    last_attempted_at timestamptz,
    header_names      text[]      NOT NULL,
    header_values     bytea[]     NOT NULL,
    value             bytea
);
CREATE INDEX dead_letters_topic_key_digest_id_idx ON inbox.dead_letters (topic, key_digest, id);

-- Who did what to dead letters. Rows are only added.
CREATE TABLE inbox.dead_letter_audit (
    id             bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor          text        NOT NULL,
    action         text        NOT NULL CHECK (action IN ('redrive', 'discard')),
    event_id       uuid        NOT NULL,
    dead_letter_id bigint      NOT NULL,
    topic          text        NOT NULL,
    partition      integer     NOT NULL,
    "offset"       bigint      NOT NULL,
    key_digest     bytea,
    reason         text        NOT NULL,
    result         text        NOT NULL CHECK (result IN ('applied', 'already_applied', 'rejected', 'discarded'))
);
CREATE FUNCTION inbox.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit of dead letters is not changed';
END
$$;
CREATE TRIGGER dead_letter_audit_is_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON inbox.dead_letter_audit
    FOR EACH STATEMENT EXECUTE FUNCTION inbox.refuse_change();

-- The smallest UUIDv7 of a moment; of one before 1970 the smallest of all.
CREATE FUNCTION inbox.min_event_id(moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex(greatest(0, extract(epoch FROM moment) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- Makes weekly table partitions until they reach past `until`. Ids of the new week leave the default partition, whose lock
-- holds off whoever would insert one meanwhile.
CREATE FUNCTION inbox.add_table_partitions(until timestamptz) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    lower_bound uuid;
    upper_bound uuid;
    week        timestamptz;
    name        text;
    added       integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('inbox.table_partitions'));
    SELECT ceiling INTO lower_bound FROM inbox.deduplication;
    week := date_trunc('week', now(), 'UTC') + interval '1 week';
    WHILE week < until + interval '1 week' LOOP
        upper_bound := inbox.min_event_id(week);
        IF lower_bound IS NULL OR upper_bound > lower_bound THEN
            lower_bound := coalesce(lower_bound, '00000000-0000-0000-0000-000000000000'::uuid);
            name := 'events_until_' || to_char(week AT TIME ZONE 'UTC', 'YYYY_MM_DD');
            EXECUTE format('CREATE TABLE inbox.%I (LIKE inbox.events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
            -- Ids of this week that came before it: nobody may be on the way to them.
            IF EXISTS (SELECT FROM inbox.events_default d WHERE d.event_id >= lower_bound AND d.event_id < upper_bound) THEN
                LOCK TABLE ONLY inbox.events IN ACCESS EXCLUSIVE MODE;
            END IF;
            LOCK TABLE inbox.events_default IN ACCESS EXCLUSIVE MODE;
            EXECUTE format(
                'WITH moved AS (DELETE FROM inbox.events_default WHERE event_id >= %L AND event_id < %L RETURNING *)
                 INSERT INTO inbox.%I SELECT * FROM moved', lower_bound, upper_bound, name);
            EXECUTE format(
                'ALTER TABLE inbox.events ATTACH PARTITION inbox.%I FOR VALUES FROM (%L) TO (%L)',
                name, lower_bound, upper_bound);
            UPDATE inbox.deduplication SET ceiling = upper_bound;
            lower_bound := upper_bound;
            added := added + 1;
        END IF;
        week := week + interval '1 week';
    END LOOP;
    RETURN added;
END
$$;

-- Drops the table partitions whose ids all lie before `moment`, and raises the floor. Rows that say something else than
-- that their event was applied stay, in the default partition.
CREATE FUNCTION inbox.drop_table_partitions(moment timestamptz) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $$
DECLARE
    candidate record;
    dropped   integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('inbox.table_partitions'));
    FOR candidate IN
        SELECT c.relname,
               (regexp_match(pg_get_expr(c.relpartbound, c.oid), $re$TO \('([0-9a-f-]{36})'\)$re$))[1]::uuid AS upper_bound
        FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'inbox.events'::regclass
        ORDER BY 2
    LOOP
        IF candidate.upper_bound <= inbox.min_event_id(moment) THEN
            -- A batch inserts its ids before it reads the floor, and holds this lock off until it has committed.
            LOCK TABLE ONLY inbox.events IN ACCESS EXCLUSIVE MODE;
            EXECUTE format('ALTER TABLE inbox.events DETACH PARTITION inbox.%I', candidate.relname);
            EXECUTE format(
                'INSERT INTO inbox.events SELECT * FROM inbox.%I WHERE outcome NOT IN (''applied'', ''redriven'')',
                candidate.relname);
            EXECUTE format('DROP TABLE inbox.%I', candidate.relname);
            UPDATE inbox.deduplication SET floor = greatest(floor, candidate.upper_bound);
            dropped := dropped + 1;
        END IF;
    END LOOP;
    RETURN dropped;
END
$$;

-- Both act with their owner's rights. A service that is not the owner of the tables needs a GRANT.
REVOKE EXECUTE ON FUNCTION inbox.add_table_partitions(timestamptz), inbox.drop_table_partitions(timestamptz) FROM PUBLIC;

SELECT inbox.add_table_partitions(now() + interval '4 weeks');
