-- The built-in provider's own books, as a foreign system would keep them: payment never joins or locks these tables.
-- The schema itself is created by the migrator, which keeps its own table of migrations in it.

-- What became of a payment's money. One row, so that a capture and a void of the same payment exclude each other.
CREATE TABLE provider.accounts (
    payment_id uuid PRIMARY KEY,
    status     text NOT NULL CHECK (status IN ('authorized', 'declined', 'captured', 'voided', 'refunded'))
);

-- Every answer given, for ever: the same key gets the same answer.
CREATE TABLE provider.ledger (
    payment_id     uuid NOT NULL,
    step           text NOT NULL CHECK (step IN ('authorize', 'check_fraud', 'capture', 'void', 'refund')),
    approved       boolean NOT NULL,
    reason         text,
    transaction_id text NOT NULL UNIQUE,
    amount_minor   bigint NOT NULL,
    currency       text NOT NULL,
    recorded_at    timestamptz NOT NULL,
    PRIMARY KEY (payment_id, step),
    CHECK (approved = (reason IS NULL))
);

-- How often the token `tok_flaky` was told to come back later.
CREATE TABLE provider.interruptions (
    payment_id uuid NOT NULL,
    step       text NOT NULL,
    count      integer NOT NULL,
    PRIMARY KEY (payment_id, step)
);
