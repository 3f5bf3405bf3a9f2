-- SHA-256 of what was said, to tell a repeated store from another one under the same id. Empty for
-- items stored before: any repetition of those counts as the same.
ALTER TABLE memory_items ADD COLUMN body_hash TEXT NOT NULL DEFAULT '';
