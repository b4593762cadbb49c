-- What a relay that reads the write-ahead log needs (docs/adr/0026): it marks no rows, and records what a snapshot shows instead.
-- While none has run, both tables are empty, and everything is as before.

-- A row per topic that such a relay has published, for as long as its messages are not marked row by row.
CREATE TABLE outbox.topics (
    topic             text        PRIMARY KEY,
    relay             text        NOT NULL CHECK (relay IN ('poll', 'wal')),
    snapshot          pg_snapshot NOT NULL DEFAULT '1:1:',
    system_identifier bigint      NOT NULL,
    timeline          integer     NOT NULL,
    slot              text        NOT NULL,
    "position"        pg_lsn      NOT NULL
);
COMMENT ON COLUMN outbox.topics.relay IS
    'Who publishes the topic now. After a relay of the log, poll publishes what the snapshot does not show.';
COMMENT ON COLUMN outbox.topics.snapshot IS
    'All messages of the topic that it shows are published, finished or not, but for those in outbox.pending.';
COMMENT ON COLUMN outbox.topics.system_identifier IS
    'The cluster whose transactions the snapshot names. In another one it means nothing.';
COMMENT ON COLUMN outbox.topics."position" IS
    'No further than to here was the slot ever confirmed: a slot that is further on is another one.';

-- Messages that the relay of the log has passed without an acknowledgement: of blocked keys, and of partitions that accept no
-- records. They are published from the table.
CREATE TABLE outbox.pending (
    message_id bigint PRIMARY KEY,
    topic      text   NOT NULL
);
CREATE INDEX pending_topic_message_id_idx ON outbox.pending (topic, message_id);

-- What is unpublished where a relay of the log has run. Branches rather than OR, so that each has its index: topics that no snapshot
-- of this cluster covers, a look into the index each; what the snapshot of a topic does not show; what is pending.
CREATE FUNCTION outbox.unpublished_ids() RETURNS SETOF bigint
    LANGUAGE plpgsql STABLE ROWS 100
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off AS $$
DECLARE
    cluster bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM outbox.topics) THEN
        RETURN;
    END IF;
    SELECT c.system_identifier INTO cluster FROM pg_control_system() AS c;
    RETURN QUERY
        WITH RECURSIVE topics (topic) AS (
            (SELECT m.topic FROM outbox.messages m WHERE m.finished_at IS NULL ORDER BY m.topic LIMIT 1)
            UNION ALL
            SELECT (SELECT m.topic FROM outbox.messages m
                    WHERE m.finished_at IS NULL AND m.topic > t.topic ORDER BY m.topic LIMIT 1)
            FROM topics t WHERE t.topic IS NOT NULL
        )
        SELECT m.id FROM topics t CROSS JOIN LATERAL (
            SELECT u.id FROM outbox.messages u
            WHERE u.finished_at IS NULL AND u.topic = t.topic
                AND NOT EXISTS (SELECT FROM outbox.pending p WHERE p.message_id = u.id)) AS m
        WHERE t.topic NOT IN (SELECT s.topic FROM outbox.topics s WHERE s.system_identifier = cluster);
    RETURN QUERY
        SELECT m.id FROM outbox.topics t CROSS JOIN LATERAL (
            SELECT u.id FROM outbox.messages u
            WHERE u.finished_at IS NULL AND u.topic = t.topic AND u.transaction_id >= pg_snapshot_xmin(t.snapshot)
                AND NOT pg_visible_in_snapshot(u.transaction_id, t.snapshot)
                AND NOT EXISTS (SELECT FROM outbox.pending p WHERE p.message_id = u.id)) AS m
        WHERE t.system_identifier = cluster;
    RETURN QUERY
        SELECT m.id FROM outbox.pending p CROSS JOIN LATERAL (
            SELECT u.id, u.finished_at FROM outbox.messages u WHERE u.id = p.message_id OFFSET 0) AS m
        WHERE m.finished_at IS NULL;
END
$$;

-- Inlined, as before. While outbox.topics is empty, the first branch alone has rows.
CREATE OR REPLACE FUNCTION outbox.unpublished() RETURNS SETOF outbox.messages LANGUAGE sql STABLE AS $$
    SELECT m.* FROM outbox.messages m
    WHERE m.finished_at IS NULL AND NOT (SELECT EXISTS (SELECT FROM outbox.topics))
    UNION ALL
    SELECT m.* FROM outbox.unpublished_ids() AS u (id) JOIN outbox.messages m ON m.id = u.id
$$;

-- Gives one table partition after the other, then the table, the index by which unpublished() finds what a snapshot does not
-- show; tells whether it was the table's turn. Only while there is a snapshot: appends pay for it. A table partition takes no
-- appends meanwhile, so the caller bounds each call.
CREATE FUNCTION outbox.add_snapshot_index() RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    partition text;
BEGIN
    SELECT c.relname INTO partition FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'outbox.messages'::regclass
        AND to_regclass(format('outbox.%I', c.relname || '_snapshot_idx')) IS NULL
        AND to_regclass('outbox.messages_snapshot_idx') IS NULL
    ORDER BY c.oid LIMIT 1;
    IF partition IS NULL THEN
        CREATE INDEX IF NOT EXISTS messages_snapshot_idx ON outbox.messages (topic, transaction_id)
            WHERE finished_at IS NULL;
        RETURN true;
    END IF;
    EXECUTE format('CREATE INDEX %I ON outbox.%I (topic, transaction_id) WHERE finished_at IS NULL',
        partition || '_snapshot_idx', partition);
    RETURN false;
END
$$;

CREATE FUNCTION outbox.drop_snapshot_index() RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DROP INDEX IF EXISTS outbox.messages_snapshot_idx
$$;

-- What the relay reads of the log: the appends to the table, whichever table partition they go to.
CREATE FUNCTION outbox.add_publication() RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_publication WHERE pubname = 'outbox_relay') THEN
        RETURN false;
    END IF;
    CREATE PUBLICATION outbox_relay FOR TABLE outbox.messages
        WITH (publish = 'insert', publish_via_partition_root = true);
    RETURN true;
END
$$;

-- Makes the slot, with the rights of whoever calls: REPLICATION. From PostgreSQL 17 on it is kept on a standby as well, and goes
-- on after a failover.
CREATE FUNCTION outbox.make_slot(name text) RETURNS pg_lsn LANGUAGE plpgsql AS $$
DECLARE
    made pg_lsn;
BEGIN
    EXECUTE CASE WHEN current_setting('server_version_num')::integer >= 170000
        THEN 'SELECT lsn FROM pg_create_logical_replication_slot($1, ''pgoutput'', false, false, true)'
        ELSE 'SELECT lsn FROM pg_create_logical_replication_slot($1, ''pgoutput'')' END INTO made USING name;
    RETURN made;
END
$$;

-- The others act with their owner's rights, as outbox.add_table_partitions does.
REVOKE EXECUTE ON FUNCTION outbox.add_snapshot_index(), outbox.drop_snapshot_index(), outbox.add_publication() FROM PUBLIC;

-- Whoever reads or writes messages asks outbox.unpublished(), which asks these.
DO $$
DECLARE
    given record;
BEGIN
    FOR given IN
        SELECT a.grantee, a.privilege_type FROM pg_class c, aclexplode(c.relacl) AS a
        WHERE c.oid = 'outbox.messages'::regclass AND a.grantee <> c.relowner
            AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
    LOOP
        EXECUTE format('GRANT %s ON outbox.topics, outbox.pending TO %s', given.privilege_type,
            CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(given.grantee)) END);
    END LOOP;
    FOR given IN
        SELECT DISTINCT a.grantee FROM pg_proc p, aclexplode(p.proacl) AS a
        WHERE p.oid = 'outbox.drop_table_partition(interval)'::regprocedure AND a.grantee <> p.proowner
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION outbox.add_snapshot_index(), outbox.drop_snapshot_index(),
            outbox.add_publication() TO %s',
            CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(given.grantee)) END);
    END LOOP;
END
$$;
