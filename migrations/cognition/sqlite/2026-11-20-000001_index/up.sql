-- What cognition keeps of memory's log. All of it can be made again from memory. Rows lie user by
-- user, what is searched apart from what is shown, so that a user's index is read in one sweep.
CREATE TABLE indexed_items (
    user_id         TEXT NOT NULL,
    seq             BIGINT NOT NULL,
    conversation_id TEXT,
    role            TEXT NOT NULL,
    at              BIGINT NOT NULL,
    item            TEXT NOT NULL,
    PRIMARY KEY (user_id, seq)
) WITHOUT ROWID;
CREATE INDEX indexed_items_at ON indexed_items (user_id, at, seq);
CREATE INDEX indexed_items_conversation ON indexed_items (user_id, conversation_id, at, seq);
CREATE TABLE prepared_items (
    user_id  TEXT NOT NULL,
    seq      BIGINT NOT NULL,
    rules    INTEGER NOT NULL,
    prepared BLOB NOT NULL,
    PRIMARY KEY (user_id, seq)
) WITHOUT ROWID;
-- Up to where the log is in here; written with what is.
CREATE TABLE index_cursor (
    id    INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
    seq   BIGINT NOT NULL,
    epoch TEXT,
    items BIGINT NOT NULL
);
INSERT INTO index_cursor (id, seq, epoch, items) VALUES (1, 0, NULL, 0);
