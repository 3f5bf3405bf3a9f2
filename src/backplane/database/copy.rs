//! Copying a store while it is used, and putting a copy in the place of another: whole or not at all.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use diesel::{prelude::*, sql_types::Text};

use super::{make_folder, of_file};
use crate::domain::failure::Failure;

/// Where a copy is written before it gets its name.
#[must_use]
pub fn partial_of(to: &Path) -> PathBuf {
    to.with_added_extension("partial")
}

/// Copies the database as it is at this moment, also while others write it, to the partial file
/// beside `to`: for its owner alone, and on the disk when this returns. What an earlier attempt left
/// there is replaced.
///
/// # Errors
/// `database_error` naming the file; nothing is left then.
pub fn copy_into(connection: &mut SqliteConnection, to: &Path) -> Result<PathBuf, Failure> {
    make_folder(to)?;
    let partial = partial_of(to);
    let copied = write_copy(connection, &partial);
    if copied.is_err() {
        remove_quietly(&partial);
    }
    copied.map(|()| partial.clone()).map_err(|error| of_file(&partial, &error))
}

fn write_copy(connection: &mut SqliteConnection, partial: &Path) -> Result<(), String> {
    let said = |error: io::Error| error.to_string();
    match std::fs::remove_file(partial) {
        Ok(()) => log::info!("an unfinished copy is replaced path={}", partial.display()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(said(error)),
    }
    // Made before SQLite does, so that nobody else can read it. It must be empty.
    let made = File::options().write(true).create_new(true).mode(0o600).open(partial);
    drop(made.map_err(said)?);
    // A transaction of its own sees one state, however long it takes; writers go on.
    diesel::sql_query("VACUUM INTO ?")
        .bind::<Text, _>(partial.to_string_lossy())
        .execute(connection)
        .map_err(|error| error.to_string())?;
    File::open(partial).and_then(|file| file.sync_all()).map_err(said)
}

/// Gives a finished copy its name, durably.
///
/// # Errors
/// `database_error` naming the file.
pub fn put_in_place(partial: &Path, to: &Path) -> Result<(), Failure> {
    std::fs::rename(partial, to).map_err(|error| of_file(to, &error))?;
    let folder = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))
        .and_then(|folder| folder.sync_all())
        .map_err(|error| of_file(to, &error))
}

fn remove_quietly(partial: &Path) {
    if let Err(error) = std::fs::remove_file(partial)
        && error.kind() != ErrorKind::NotFound
    {
        log::warn!("an unfinished copy is left path={} cause={error}", partial.display());
    }
}
