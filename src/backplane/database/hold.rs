//! Who has a store: a lock file beside it, held by one process alone or shared by several.

use std::{
    fs::{File, TryLockError},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use diesel::{QueryableByName, RunQueryDsl as _, SqliteConnection};

use super::{make_folder, of_file, storage_failure};
use crate::domain::failure::{Failure, Kind};

/// What stands in the lock file of a store that was made.
const MADE: &str = "made\n";

/// A store that is held for as long as this is kept; also a killed process lets go.
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "the lock lives as long as the file")] File);

/// Takes a store for this process alone.
///
/// # Errors
/// `database_error` when another process has it, or the lock file beside it cannot be made.
pub fn hold(path: &Path) -> Result<Held, Failure> {
    hold_as(path, File::try_lock)
}

/// Takes a store together with other processes of this host that hold it so.
///
/// # Errors
/// As [`hold`], when another process has it for itself.
pub fn hold_shared(path: &Path) -> Result<Held, Failure> {
    hold_as(path, File::try_lock_shared)
}

fn hold_as(
    path: &Path,
    lock: impl FnOnce(&File) -> Result<(), TryLockError>,
) -> Result<Held, Failure> {
    make_folder(path)?;
    let file = open_beside(path, "lock")?;
    lock(&file).map_err(|refused| match refused {
        TryLockError::WouldBlock => {
            let text = format!("{} is in use by another process", path.display());
            Failure::new(Kind::Storage, text)
        }
        TryLockError::Error(error) => {
            Failure::new(Kind::Storage, format!("{} cannot be locked: {error}", path.display()))
        }
    })?;
    Ok(Held(file))
}

/// Opens a file of this name beside the store, for its owner alone; what is in it stays.
pub(super) fn open_beside(path: &Path, extension: &str) -> Result<File, Failure> {
    let beside = path.with_added_extension(extension);
    let mut options = File::options();
    options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&beside)
        .map_err(|error| of_file(&beside, &error))
}

#[derive(QueryableByName)]
struct FileOf {
    #[diesel(sql_type = diesel::sql_types::Text)]
    file: String,
}

/// Notes beside the store that it was made, if it is held by a process.
pub(super) fn mark_made(connection: &mut SqliteConnection) -> Result<(), Failure> {
    let FileOf { file } =
        diesel::sql_query("SELECT file FROM pragma_database_list WHERE name = 'main'")
            .get_result(connection)
            .map_err(|error| storage_failure(&error))?;
    let mark = PathBuf::from(file).with_added_extension("lock");
    let unmarked = std::fs::metadata(&mark).is_ok_and(|lock| lock.len() == 0);
    if unmarked && let Err(error) = std::fs::write(&mark, MADE) {
        log::warn!("not noted that the store was made cause={error}");
    }
    Ok(())
}

/// Refuses a store that was made and is empty now: SQLite would begin a new one in its place, and
/// drop the log beside it.
pub(super) fn refuse_emptied(path: &Path) -> Result<(), Failure> {
    let length = |path: &Path| std::fs::metadata(path).map(|file| file.len()).ok();
    let made = length(&path.with_added_extension("lock")).is_some_and(|length| length > 0);
    if made && length(path) == Some(0) {
        let text = format!(
            "{} is empty, though it held a store: run `cortex restore` with the last backup, or \
             remove the file to begin anew",
            path.display()
        );
        return Err(Failure::new(Kind::Storage, text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_held_by_one_alone_or_by_several_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep").join("x.db");
        let first = hold_shared(&path).unwrap();
        let second = hold_shared(&path).unwrap();
        assert!(hold(&path).unwrap_err().message.contains("in use by another process"));
        drop((first, second));
        let alone = hold(&path).unwrap();
        assert!(hold_shared(&path).is_err());
        assert!(hold(&path).is_err());
        drop(alone);
        assert!(hold_shared(&path).is_ok());
    }
}
