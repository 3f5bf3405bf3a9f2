-- One row per item. `seq` is the store's log: AUTOINCREMENT never hands a number out twice, also
-- not after a delete. An id belongs to its owner, so that nobody can occupy another's ids.
CREATE TABLE memory_items (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    id              TEXT NOT NULL,
    user_id         TEXT NOT NULL,
    sender_id       TEXT NOT NULL,
    conversation_id TEXT,
    role            TEXT NOT NULL,
    sender          TEXT,
    caption         TEXT,
    content         TEXT NOT NULL,
    content_type    TEXT NOT NULL,
    timestamp       TEXT NOT NULL,
    metadata        TEXT NOT NULL,
    extra           TEXT NOT NULL,
    UNIQUE (user_id, id)
);
CREATE INDEX memory_items_user_seq ON memory_items (user_id, seq);
CREATE INDEX memory_items_conversation_seq ON memory_items (conversation_id, seq);
CREATE INDEX memory_items_user_conversation_seq ON memory_items (user_id, conversation_id, seq);
CREATE INDEX memory_items_id ON memory_items (id);
