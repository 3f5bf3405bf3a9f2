-- What happened to items after they were stored, under numbers of the same log: whoever follows the
-- log from a number on misses no change. Of an item only its last change is kept, of a user that was
-- forgotten only that. `began` marks say where a part of the log begins: a reader that knows another
-- mark at its place knows another log.
CREATE TABLE memory_changes (
    seq      INTEGER PRIMARY KEY NOT NULL,
    kind     TEXT NOT NULL,
    user_id  TEXT,
    item_seq INTEGER UNIQUE,
    item_id  TEXT,
    epoch    TEXT
);
CREATE INDEX memory_changes_user ON memory_changes (user_id, seq) WHERE user_id IS NOT NULL;
CREATE INDEX memory_changes_epoch ON memory_changes (seq) WHERE epoch IS NOT NULL;
INSERT INTO memory_changes (seq, kind, epoch) VALUES (0, 'began', lower(hex(randomblob(16))));
