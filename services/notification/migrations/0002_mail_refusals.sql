-- The attempts that the mail server refused for the mail's own sake. Only these end a mail: a fault of the way to the
-- server, which every mail would meet, uses up none. The previous release neither reads nor writes this column.
ALTER TABLE mails ADD COLUMN refusals integer NOT NULL DEFAULT 0;
