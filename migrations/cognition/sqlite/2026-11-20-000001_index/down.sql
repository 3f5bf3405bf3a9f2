DROP TABLE index_cursor;
DROP TABLE prepared_items;
DROP TABLE indexed_items;
