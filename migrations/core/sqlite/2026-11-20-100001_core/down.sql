DROP TABLE conversations;
DROP TABLE workspaces;
DROP TABLE users;
