DROP TABLE store_id;
