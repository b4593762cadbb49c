-- Each message is updated once: when it is finished. Its new version goes into the same page, which was left half empty for it.
-- The log then has what differs, a third of the bytes; in another page it has the whole row. The table gets no larger: the
-- new versions need their place in either case.

CREATE OR REPLACE FUNCTION outbox.add_table_partitions(ahead integer) RETURNS integer
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
                 WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000)', name);
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

-- The table partitions that are there leave room from now on.
DO $$
DECLARE
    partition regclass;
BEGIN
    FOR partition IN SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = 'outbox.messages'::regclass LOOP
        EXECUTE format('ALTER TABLE %s SET (fillfactor = 50)', partition);
    END LOOP;
END
$$;
