-- What is to be known of a user for longer than it was talked of. `seq` is the number of the log under
-- which a fact was remembered; what becomes of it later has numbers in memory_changes. Times are
-- microseconds since the Unix epoch. The folded columns are what subjects and keys are compared by.
CREATE TABLE memory_facts (
    seq            INTEGER PRIMARY KEY NOT NULL,
    id             TEXT NOT NULL,
    user_id        TEXT NOT NULL,
    subject        TEXT NOT NULL,
    subject_folded TEXT NOT NULL,
    key            TEXT,
    key_folded     TEXT,
    text           TEXT NOT NULL,
    source_item_id TEXT,
    recorded_at    BIGINT NOT NULL,
    valid_from     BIGINT NOT NULL,
    valid_to       BIGINT,
    superseded_by  TEXT,
    superseded_at  BIGINT,
    UNIQUE (user_id, id)
);
CREATE INDEX memory_facts_user_seq ON memory_facts (user_id, seq);
CREATE INDEX memory_facts_slot ON memory_facts (user_id, subject_folded, key_folded);
