//! What must hold of memory's rows beyond what the database itself knows, for `cortex check`.

use diesel::{connection::DefaultLoadingMode, prelude::*};
use sha2::{Digest as _, Sha256};

use crate::{
    backplane::database::{self, storage_failure},
    domain::failure::Failure,
    services::memory::schema::memory_items,
};

/// The version of the schema that began with facts, as the database keeps it.
const FACTS_SINCE: &str = "20261120000020";
/// Rows of one kind of problem that are named.
const NAMED_MAX: usize = 10;

#[derive(Queryable, Selectable)]
#[diesel(table_name = memory_items)]
struct Said {
    seq: i64,
    conversation_id: Option<String>,
    role: String,
    caption: Option<String>,
    content: String,
    content_type: String,
    metadata: String,
    extra: String,
    body_hash: String,
}

/// What does not hold: sequence numbers that were never given out, JSON that is none, items whose
/// text is not what was said when they were stored. Reads every row, in one view of the store.
///
/// # Errors
/// `database_error` when the rows cannot be read.
pub fn findings(connection: &mut SqliteConnection) -> Result<Vec<String>, Failure> {
    let mut problems = Vec::new();
    let beyond = database::count(
        connection,
        "SELECT count(*) AS count FROM memory_items WHERE seq < 1 OR seq > \
         coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'memory_items'), 0)",
    )?;
    if beyond > 0 {
        problems.push(format!("{beyond} items have sequence numbers that were not given out"));
    }
    let (mut no_json, mut changed) = (Vec::new(), Vec::new());
    // Changes have numbers of the log since the third version.
    if database::versions(connection)?.len() >= 3 {
        let astray = database::count(
            connection,
            "SELECT count(*) AS count FROM memory_changes WHERE seq > \
             coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'memory_items'), 0) \
             OR seq IN (SELECT seq FROM memory_items) \
             OR (kind = 'changed' AND item_seq NOT IN (SELECT seq FROM memory_items))",
        )?;
        if astray > 0 {
            problems.push(format!("{astray} changes are not of this log"));
        }
    }
    if database::versions(connection)?.iter().any(|version| version.as_str() >= FACTS_SINCE) {
        let astray = database::count(
            connection,
            "SELECT count(*) AS count FROM memory_facts AS f WHERE f.seq < 1 OR f.seq > \
             coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'memory_items'), 0) \
             OR f.seq IN (SELECT seq FROM memory_items) OR NOT EXISTS (SELECT 1 FROM \
             memory_changes AS c WHERE c.item_seq = f.seq AND c.kind = 'fact')",
        )?;
        if astray > 0 {
            problems.push(format!("{astray} facts are not of this log"));
        }
    }
    // Storing knows a hash since the second version of the schema.
    if database::versions(connection)?.len() < 2 {
        return Ok(problems);
    }
    let rows = memory_items::table
        .select(Said::as_select())
        .order(memory_items::seq.asc())
        .load_iter::<Said, DefaultLoadingMode>(connection)
        .map_err(|error| storage_failure(&error))?;
    for row in rows {
        let row = row.map_err(|error| storage_failure(&error))?;
        match object(&row.metadata).zip(object(&row.extra)) {
            None => no_json.push(row.seq),
            // An item that was updated says something else than what was stored, as it should.
            Some((metadata, _)) if metadata.contains_key("updated_at") => {}
            Some(_) if row.body_hash.is_empty() || row.body_hash == hash(&row) => {}
            Some(_) => changed.push(row.seq),
        }
    }
    problems.extend(named("metadata or further keys are no JSON object", &no_json));
    problems.extend(named("text is not what was stored", &changed));
    Ok(problems)
}

fn object(text: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
    serde_json::from_str(text).ok()
}

fn named(what: &str, seqs: &[i64]) -> Option<String> {
    if seqs.is_empty() {
        return None;
    }
    let first: Vec<String> = seqs.iter().take(NAMED_MAX).map(i64::to_string).collect();
    let more = if seqs.len() > NAMED_MAX { ", …" } else { "" };
    Some(format!("{} items whose {what}: {}{more}", seqs.len(), first.join(", ")))
}

/// The hash of what was said, as [`super::intake::NewItem`] makes it. The JSON columns are taken as
/// they stand: read and written again, numbers may look different.
fn hash(row: &Said) -> String {
    let mut said = serde_json::json!([
        row.conversation_id,
        row.role,
        row.caption,
        row.content,
        row.content_type
    ])
    .to_string();
    said.truncate(said.len().saturating_sub(1));
    for part in [",", &row.metadata, ",", &row.extra, "]"] {
        said.push_str(part);
    }
    let digest = Sha256::digest(said.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use diesel::connection::SimpleConnection as _;
    use serde_json::json;

    use super::*;
    use crate::{
        backplane::database::Store,
        services::memory::{
            MIGRATIONS,
            intake::{self, Changes},
            store,
        },
    };

    fn filled(folder: &Path) -> SqliteConnection {
        let mut connection = database::connect(&folder.join("x.db")).unwrap();
        database::migrate(&mut connection, MIGRATIONS, Store::Memory).unwrap();
        for number in 0..5 {
            let input = json!({
                "id": format!("{number}"), "content": "ünï\n\"x\"", "caption": "c",
                "metadata": {"float": 0.1 + 0.2, "big": 1e300, "deep": [{"a": null}]}, "odd": [1.5e-7]
            });
            let item = intake::item("ann", input.as_object().unwrap().clone(), 0).unwrap();
            store::insert(&mut connection, &item.into()).unwrap();
        }
        connection
    }

    #[test]
    fn what_was_stored_and_updated_and_removed_has_no_findings() {
        let folder = tempfile::tempdir().unwrap();
        let mut connection = filled(folder.path());
        let mut changes = Changes { content: Some("new".to_owned()), ..Changes::default() };
        changes.metadata.insert("updated_at".to_owned(), "now".into());
        store::update(&mut connection, "ann", "1", &changes).unwrap();
        store::remove(&mut connection, "ann", Some("4")).unwrap();
        assert_eq!(findings(&mut connection).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn each_kind_of_problem_is_found_and_its_rows_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut connection = filled(folder.path());
        connection
            .batch_execute(
                "UPDATE memory_items SET content = 'forged' WHERE seq = 2;
                 UPDATE memory_items SET metadata = '{oops' WHERE seq = 3;
                 UPDATE memory_items SET extra = '[]' WHERE seq = 4;
                 UPDATE sqlite_sequence SET seq = 4",
            )
            .unwrap();
        assert_eq!(
            findings(&mut connection).unwrap(),
            [
                "1 items have sequence numbers that were not given out",
                "2 items whose metadata or further keys are no JSON object: 3, 4",
                "1 items whose text is not what was stored: 2",
            ]
        );
    }
}
