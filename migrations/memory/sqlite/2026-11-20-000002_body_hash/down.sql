ALTER TABLE memory_items DROP COLUMN body_hash;
