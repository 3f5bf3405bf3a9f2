-- Facts that hold, or may hold one day, as memory's log tells them. What is searched of them is made
-- when a user's index is read: they are few beside the items.
CREATE TABLE indexed_facts (
    user_id TEXT NOT NULL,
    seq     BIGINT NOT NULL,
    fact    TEXT NOT NULL,
    PRIMARY KEY (user_id, seq)
) WITHOUT ROWID;
