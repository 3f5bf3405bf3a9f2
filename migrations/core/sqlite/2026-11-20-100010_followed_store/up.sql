-- The stores that core follows, by the service that has them.
CREATE TABLE followed_stores (
    service  TEXT PRIMARY KEY NOT NULL,
    store_id TEXT NOT NULL
);
