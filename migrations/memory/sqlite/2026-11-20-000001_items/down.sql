DROP TABLE memory_items;
