-- Failed mails are listed and counted by an index of their own; so is the oldest pending one. Both indexes are small: mails
-- leave them once they are sent.
CREATE INDEX mails_failed_idx ON mails (order_id, kind) WHERE state = 'failed';
CREATE INDEX mails_pending_idx ON mails (created_at) WHERE state = 'pending';
