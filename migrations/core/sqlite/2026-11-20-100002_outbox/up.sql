-- Inputs that were acknowledged while memory could not take them, in the order they came.
CREATE TABLE outbox (
    place           INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    message_id      TEXT NOT NULL UNIQUE,
    user_id         TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    -- What memory is given, as JSON.
    input           TEXT NOT NULL,
    created_at      BIGINT NOT NULL,
    -- Why memory would never take it; null while it waits.
    refusal         TEXT
);
CREATE INDEX outbox_refused ON outbox (place) WHERE refusal IS NOT NULL;
