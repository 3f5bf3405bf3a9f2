//! Looking at a store without changing it: whose it is, which schema it has, whether it is whole.

use std::path::{Path, PathBuf};

use diesel::{connection::SimpleConnection as _, prelude::*, sql_types};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{ApplicationId, BUSY_TIMEOUT, Store, of_file, storage_failure};
use crate::domain::{
    failure::{Failure, Kind},
    storage_fault::Fault,
};

/// What a path must not have as itself in a URI file name of SQLite.
const SPECIAL: AsciiSet = CONTROLS.add(b' ').add(b'?').add(b'#').add(b'%');
/// Most problems one look names.
const PROBLEMS_MAX: u32 = 100;

/// How closely a store is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Every page, without comparing indexes with tables (`PRAGMA quick_check`).
    Quick,
    /// Indexes too (`PRAGMA integrity_check`).
    Full,
}

/// Opens a database for reading alone; nothing is made and nothing is changed, also not while
/// processes write it.
///
/// # Errors
/// `database_error` naming the file, with what to do.
pub fn open_read_only(path: &Path) -> Result<SqliteConnection, Failure> {
    let whole = std::fs::canonicalize(path).map_err(|error| of_file(path, &error))?;
    match open_as(&whole, "mode=ro") {
        // Where nothing can be made beside it, a database without a log can still be read.
        Err(error) if Fault::of(&error) == Fault::Unopenable && !log_of(&whole).exists() => {
            open_as(&whole, "mode=ro&immutable=1")
        }
        other => other,
    }
    .map_err(|error| of_file(path, &error))
}

/// The write-ahead log of a database.
pub fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

fn open_as(path: &Path, how: &str) -> Result<SqliteConnection, String> {
    let encoded = utf8_percent_encode(&path.to_string_lossy(), &SPECIAL).to_string();
    let mut connection = SqliteConnection::establish(&format!("file:{encoded}?{how}"))
        .map_err(|error| error.to_string())?;
    let busy = BUSY_TIMEOUT.as_millis();
    connection
        .batch_execute(&format!("PRAGMA busy_timeout = {busy}; SELECT count(*) FROM sqlite_schema"))
        .map_err(|error| error.to_string())?;
    Ok(connection)
}

/// Whose store this is; `None` for a file that is nobody's.
///
/// # Errors
/// `database_error`.
pub fn owner(connection: &mut SqliteConnection) -> Result<Option<Store>, Failure> {
    let mark: ApplicationId = diesel::sql_query("PRAGMA application_id")
        .get_result(connection)
        .map_err(|error| storage_failure(&error))?;
    Ok([Store::Core, Store::Memory, Store::Cognition]
        .into_iter()
        .find(|store| store.mark() == mark.application_id))
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = sql_types::Text)]
    line: String,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = sql_types::BigInt)]
    count: i64,
}

fn lines(connection: &mut SqliteConnection, query: &str) -> QueryResult<Vec<String>> {
    let lines: Vec<Line> = diesel::sql_query(query).load(connection)?;
    Ok(lines.into_iter().map(|Line { line }| line).collect())
}

/// What `query`, which gives one row with a `count`, counts.
///
/// # Errors
/// `database_error`.
pub fn count(connection: &mut SqliteConnection, query: &str) -> Result<i64, Failure> {
    let Count { count } =
        diesel::sql_query(query).get_result(connection).map_err(|error| storage_failure(&error))?;
    Ok(count)
}

/// The versions of the schema that were applied, oldest first; none for a database without.
///
/// # Errors
/// `database_error`.
pub fn versions(connection: &mut SqliteConnection) -> Result<Vec<String>, Failure> {
    let kept =
        "SELECT count(*) AS count FROM sqlite_schema WHERE name = '__diesel_schema_migrations'";
    if count(connection, kept)? == 0 {
        return Ok(Vec::new());
    }
    lines(connection, "SELECT version AS line FROM __diesel_schema_migrations ORDER BY version")
        .map_err(|error| storage_failure(&error))
}

/// What contradicts itself in the file, at most 100 lines; empty when all is well.
///
/// # Errors
/// `database_error` when it cannot be read; that it is damaged is no error here, but a finding.
pub fn integrity(connection: &mut SqliteConnection, depth: Depth) -> Result<Vec<String>, Failure> {
    let pragma = match depth {
        Depth::Quick => "quick_check",
        Depth::Full => "integrity_check",
    };
    // Stops at 100 findings by itself.
    let query = format!("SELECT {pragma} AS line FROM pragma_{pragma}");
    match lines(connection, &query) {
        Ok(found) if found == ["ok"] => Ok(Vec::new()),
        Ok(found) => Ok(found),
        Err(error) if !Fault::of(&error.to_string()).may_pass() => Ok(vec![error.to_string()]),
        Err(error) => Err(storage_failure(&error)),
    }
}

/// Rows that refer to something which does not exist, at most 100.
///
/// # Errors
/// As [`integrity`].
pub fn foreign_keys(connection: &mut SqliteConnection) -> Result<Vec<String>, Failure> {
    let query = format!(
        "SELECT format('row %s of %s refers to nothing in %s', rowid, \"table\", parent) AS line \
         FROM pragma_foreign_key_check LIMIT {PROBLEMS_MAX}"
    );
    match lines(connection, &query) {
        Ok(found) => Ok(found),
        Err(error) if !Fault::of(&error.to_string()).may_pass() => Ok(vec![error.to_string()]),
        Err(error) => Err(storage_failure(&error)),
    }
}

/// Looks over a store that is about to be used, if it has at most `largest` bytes.
///
/// # Errors
/// `database_error` with the first finding.
pub fn look_over(
    connection: &mut SqliteConnection,
    path: &Path,
    largest: u64,
) -> Result<(), Failure> {
    let bytes = std::fs::metadata(path).map(|file| file.len()).unwrap_or_default();
    if bytes > largest {
        return Ok(());
    }
    match integrity(connection, Depth::Quick)?.first() {
        None => Ok(()),
        Some(finding) => Err(Failure::new(
            Kind::Storage,
            format!("{}: {} ({finding})", path.display(), Fault::Damaged.sentence()),
        )),
    }
}
