//! Stores of other versions: an older one is brought up and loses nothing, a newer one is refused.

use std::path::Path;

use diesel::{Connection as _, SqliteConnection, connection::SimpleConnection as _};
use serde_json::{Value, json};

use super::storage::{Stage, written};
use crate::harness::User;

/// A store as the first version of the schema made it, with these rows.
fn first_schema(folder: &Path, user: &User) {
    let up = include_str!("../../../migrations/memory/sqlite/2026-11-20-000001_items/up.sql");
    let path = folder.join("memory.db");
    let mut connection = SqliteConnection::establish(&path.display().to_string()).unwrap();
    connection
        .batch_execute(&format!(
            "{up};
             CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY NOT NULL,
                 run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
             INSERT INTO __diesel_schema_migrations (version) VALUES ('20261120000001');
             PRAGMA application_id = 0x4374784d;
             WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 200)
             INSERT INTO memory_items (id, user_id, sender_id, role, content, content_type,
                 timestamp, metadata, extra)
             SELECT 'old' || n, '{user}', '{user}', 'user', 'text ' || n, 'text',
                 '2026-11-20T10:00:00.000000Z', '{{\"n\":' || n || '}}', '{{}}' FROM n",
            user = user.id
        ))
        .unwrap();
}

#[actix::test]
async fn a_store_of_the_first_schema_is_brought_up_and_loses_nothing() {
    let data = tempfile::tempdir().unwrap();
    let stage = Stage::on(data.path());
    first_schema(data.path(), &stage.user);
    let (process, client) = stage.start(&[]).await;
    let items = client.resource(&format!("history/{}?limit=1000&after=0", stage.user.id)).await;
    let items = items.as_array().unwrap();
    assert_eq!(items.len(), 200);
    for (number, item) in (1..).zip(items) {
        assert_eq!(item["content"], format!("text {number}"));
        assert_eq!((&item["seq"], &item["metadata"]["n"]), (&json!(number), &json!(number)));
    }
    let again =
        json!({"user_id": stage.user.id, "input_data": {"id": "old7", "content": "text 7"}});
    let again = client.tool("store_input", again).await;
    assert_eq!(
        (&again["status"], &again["same_body"]),
        (&json!("already_exists"), &Value::Bool(true))
    );
    // A repetition may use up a number, but gives none twice.
    assert!(stage.put(&client, "new").await.ok()["seq"].as_i64().unwrap() > 200);
    assert_eq!(process.terminate().await, Some(0));
}

#[actix::test]
async fn a_store_of_a_newer_version_is_refused_and_left_alone() {
    let data = tempfile::tempdir().unwrap();
    let stage = written(data.path()).await;
    let mut connection = SqliteConnection::establish(&stage.store().display().to_string()).unwrap();
    connection
        .batch_execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('29991231000000')")
        .unwrap();
    drop(connection);
    stage.refuses_to_start(&["newer cortex", "29991231000000", "restore a backup"]).await;
}
