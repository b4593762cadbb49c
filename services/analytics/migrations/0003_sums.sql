-- Sums of money and units that outgrow 64 bits. A sum is a column plus its `carried` one. The previous release reads and
-- adds to the former alone, so this one moves it to the latter before it can overflow there.

ALTER TABLE revenue
    ADD COLUMN units_carried numeric NOT NULL DEFAULT 0,
    ADD COLUMN revenue_minor_carried numeric NOT NULL DEFAULT 0;
ALTER TABLE best_sellers
    ADD COLUMN units_carried numeric NOT NULL DEFAULT 0,
    ADD COLUMN revenue_minor_carried numeric NOT NULL DEFAULT 0;

-- The part of a sum that stays in its column: all of it up to 2^62, else none.
CREATE FUNCTION kept(sum numeric) RETURNS bigint LANGUAGE sql IMMUTABLE
    RETURN CASE WHEN abs(sum) <= 4611686018427387904 THEN sum::bigint ELSE 0 END;
