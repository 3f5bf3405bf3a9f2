DROP TABLE memory_changes;
