-- What this service has applied, how far it has read, and what it could not apply.

-- How far each partition has been applied: the truth about our position, advanced in the batch's own transaction.
CREATE TABLE inbox.consumer_positions (
    topic       text        NOT NULL,
    partition   integer     NOT NULL,
    next_offset bigint      NOT NULL CHECK (next_offset >= 0),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition)
);

-- One row per event that has had its effect, or is parked. Partitioned by the id itself (UUIDv7 is time), so that the
-- primary key holds across partitions and pruning drops whole ones.
CREATE TABLE inbox.events (
    event_id     uuid        NOT NULL PRIMARY KEY,
    topic        text        NOT NULL,
    partition    integer     NOT NULL,
    "offset"     bigint      NOT NULL,
    processed_at timestamptz NOT NULL DEFAULT now()
) PARTITION BY RANGE (event_id);

-- The ids that the partitions accept: floor <= id < ceiling. An id outside is refused, visibly.
CREATE TABLE inbox.id_range (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    floor    uuid NOT NULL,
    ceiling  uuid NOT NULL
);

-- Keys with parked events: later events of the same key wait behind. Whoever parks, checks or redrives locks this row.
CREATE TABLE inbox.parked_keys (
    topic     text        NOT NULL,
    key       bytea       NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, key)
);

-- Events that could not be applied, in the order in which they must be redriven: exact bytes and the reason.
CREATE TABLE inbox.parked (
    id            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic         text        NOT NULL,
    partition     integer     NOT NULL,
    "offset"      bigint      NOT NULL,
    key           bytea,
    event_id      uuid,
    event_type    text,
    reason        text        NOT NULL,
    detail        text        NOT NULL,
    header_names  text[]      NOT NULL,
    header_values bytea[]     NOT NULL,
    value         bytea,
    parked_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (topic, partition, "offset")
);

CREATE INDEX parked_by_key ON inbox.parked (topic, key, id);

-- The smallest UUIDv7 of a moment.
CREATE FUNCTION inbox.first_id(moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- Makes weekly partitions until they reach past `until`. Safe to call from several replicas at once.
CREATE FUNCTION inbox.add_partitions(until timestamptz) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    lower_bound uuid;
    week        timestamptz;
    added       integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('inbox.add_partitions'));
    SELECT ceiling INTO lower_bound FROM inbox.id_range;
    week := date_trunc('week', now(), 'UTC') + interval '1 week';
    WHILE week < until + interval '1 week' LOOP
        IF lower_bound IS NULL OR inbox.first_id(week) > lower_bound THEN
            EXECUTE format(
                'CREATE TABLE inbox.%I PARTITION OF inbox.events FOR VALUES FROM (%L) TO (%L)',
                'events_until_' || to_char(week AT TIME ZONE 'UTC', 'YYYY_MM_DD'),
                coalesce(lower_bound, '00000000-0000-0000-0000-000000000000'::uuid),
                inbox.first_id(week)
            );
            lower_bound := inbox.first_id(week);
            INSERT INTO inbox.id_range (floor, ceiling)
            VALUES ('00000000-0000-0000-0000-000000000000', lower_bound)
            ON CONFLICT (only_row) DO UPDATE SET ceiling = excluded.ceiling;
            added := added + 1;
        END IF;
        week := week + interval '1 week';
    END LOOP;
    RETURN added;
END
$$;

-- Drops the partitions whose ids all lie before `moment`, and raises the floor: from then on such ids are refused.
CREATE FUNCTION inbox.drop_partitions(before timestamptz) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    candidate record;
    dropped   integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('inbox.add_partitions'));
    FOR candidate IN
        SELECT c.relname,
               (regexp_match(pg_get_expr(c.relpartbound, c.oid), $re$TO \('([0-9a-f-]{36})'\)$re$))[1]::uuid AS upper_bound
        FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'inbox.events'::regclass
    LOOP
        IF candidate.upper_bound <= inbox.first_id(before) THEN
            UPDATE inbox.id_range SET floor = greatest(floor, candidate.upper_bound);
            EXECUTE format('DROP TABLE inbox.%I', candidate.relname);
            dropped := dropped + 1;
        END IF;
    END LOOP;
    RETURN dropped;
END
$$;

SELECT inbox.add_partitions(now() + interval '4 weeks');
