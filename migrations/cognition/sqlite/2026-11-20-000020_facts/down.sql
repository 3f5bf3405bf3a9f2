DROP TABLE indexed_facts;
