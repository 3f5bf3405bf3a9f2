DROP TABLE followed_stores;
