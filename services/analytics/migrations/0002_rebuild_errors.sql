-- Why a rebuild is tried again. The previous release neither reads nor writes these columns.

ALTER TABLE generations
    -- Why its last try failed.
    ADD COLUMN last_error text,
    -- Failed tries of which nobody knows whether they pass.
    ADD COLUMN unknown_errors integer NOT NULL DEFAULT 0;
