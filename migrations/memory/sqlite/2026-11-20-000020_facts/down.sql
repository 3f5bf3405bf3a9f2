DELETE FROM memory_changes WHERE kind = 'fact' OR item_seq IN (SELECT seq FROM memory_facts);
DROP TABLE memory_facts;
