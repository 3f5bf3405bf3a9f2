-- Which store this is: made once, and it stays with the data, in backups and restores too.
CREATE TABLE store_id (id TEXT NOT NULL);
INSERT INTO store_id (id) VALUES (lower(hex(randomblob(16))));
