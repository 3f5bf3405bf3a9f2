//! `cortex check`: whether each store is whole, from its pages to what we say of its rows.

use std::path::Path;

use clap::Args;
use diesel::SqliteConnection;
use serde_json::{Value, json};

use super::{Holding, Stores, migrations, open, owner, progress};
use crate::{
    backplane::database::{self, Depth, Store},
    cli::{
        out,
        trouble::{Outcome, Trouble},
    },
    domain::failure::Failure,
    services::memory,
};

/// What `cortex check` takes.
#[derive(Args)]
pub struct CheckArgs {
    /// Leave out what takes longest: comparing indexes with tables, and every row.
    #[arg(long)]
    quick: bool,
    /// Print one JSON object per store instead of lines for people.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    stores: Stores,
}

/// What one store looks like.
struct Report {
    store: &'static str,
    file: String,
    problems: Vec<String>,
    holding: Option<Holding>,
}

/// Columns of core's that hold JSON, with the type each must have.
const CORES_JSON: [(&str, &str, &str); 5] = [
    ("users", "metadata", "object"),
    ("workspaces", "metadata", "object"),
    ("conversations", "metadata", "object"),
    ("conversations", "participant_ids", "array"),
    ("outbox", "input", "object"),
];

/// Checks each store, also while processes use it. Exit code 0 when all is well, 1 when problems
/// were found, 2 when a store cannot be opened.
pub(in crate::cli) async fn run(args: CheckArgs) -> Outcome {
    let mut damaged = Vec::new();
    let depth = if args.quick { Depth::Quick } else { Depth::Full };
    for (store, path) in args.stores.chosen()? {
        let begun = tokio::time::Instant::now();
        let how_far =
            move || format!("{}: checking for {} s", store.name(), begun.elapsed().as_secs());
        let report = progress::watched(how_far, move || look_at(store, &path, depth)).await?;
        if args.json {
            out::line(&as_json(&report).to_string())?;
        } else {
            out::print(&as_text(&report))?;
        }
        if !report.problems.is_empty() {
            damaged.push(report.file);
        }
    }
    if damaged.is_empty() {
        return Ok(());
    }
    Err(Trouble::Found(format!(
        "problems in {}; stop its processes and bring back the last backup with `cortex restore`",
        damaged.join(" and ")
    )))
}

fn as_json(report: &Report) -> Value {
    json!({
        "store": report.store,
        "file": report.file,
        "ok": report.problems.is_empty(),
        "problems": report.problems,
        "holds": report.holding.as_ref().map(Holding::json),
    })
}

fn as_text(report: &Report) -> String {
    let Report { store, file, problems, holding } = report;
    let holds =
        holding.as_ref().map_or_else(String::new, |holding| format!(": {}", holding.text()));
    if problems.is_empty() {
        return format!("{store}: {file} is whole{holds}\n");
    }
    let lines: String =
        problems.iter().map(|problem| format!("  {}\n", out::flat(problem))).collect();
    format!("{store}: {file} has problems{holds}\n{lines}")
}

fn look_at(store: Store, path: &Path, depth: Depth) -> Outcome<Report> {
    let mut connection = open(path)?;
    let found = owner(&mut connection, path)?;
    let mut problems = Vec::new();
    if found != store {
        problems.push(format!("it is the store of {}, not of {}", found.name(), store.name()));
    }
    let mut add = |found: Result<Vec<String>, Failure>| match found {
        Ok(found) => problems.extend(found),
        Err(failure) => problems.push(failure.message),
    };
    add(database::integrity(&mut connection, depth));
    add(database::refuse_newer(&mut connection, &migrations(store)).map(|()| Vec::new()));
    add(database::foreign_keys(&mut connection));
    if depth == Depth::Full && found == store {
        add(rules_of(store, &mut connection));
    }
    // What cannot be counted is told above.
    let holding = Holding::of(store, &mut connection, path).ok();
    let file = path.display().to_string();
    Ok(Report { store: store.name(), file, problems, holding })
}

/// What we say of the rows ourselves.
fn rules_of(store: Store, connection: &mut SqliteConnection) -> Result<Vec<String>, Failure> {
    match store {
        Store::Memory => memory::audit::findings(connection),
        Store::Cognition => Ok(Vec::new()),
        Store::Core => {
            let mut problems = Vec::new();
            for (table, column, kind) in CORES_JSON {
                // A store of an older version has fewer tables.
                let there =
                    format!("SELECT count(*) AS count FROM sqlite_schema WHERE name = '{table}'");
                if database::count(connection, &there)? == 0 {
                    continue;
                }
                // Two steps, so that the type of what is no JSON is not asked for.
                let query = format!(
                    "SELECT count(*) AS count FROM {table} WHERE CASE WHEN json_valid({column}) \
                     THEN json_type({column}) <> '{kind}' ELSE 1 END"
                );
                let wrong = database::count(connection, &query)?;
                if wrong > 0 {
                    problems.push(format!("{column} of {wrong} {table} is no JSON {kind}"));
                }
            }
            Ok(problems)
        }
    }
}
