//! Who core's database knows, read from its file.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use diesel::SqliteConnection;

use super::trouble::{Outcome, Trouble};
use crate::{
    backplane::{config::Data, database, metrics::Metrics},
    contract::conversation::User,
    services::conversation::{self, store},
};

/// Users read at once.
const PAGE_USERS: i64 = 500;
/// Time to open the database.
const OPEN_DEADLINE: Duration = Duration::from_secs(5);

/// The user with this login name, else with this id; `None` as well when there is no file.
pub(super) fn find(path: &Path, name: &str) -> Outcome<Option<User>> {
    if !path.exists() {
        return Ok(None);
    }
    let mut connection = database::connect(path).map_err(|failure| Trouble::of(&failure))?;
    find_in(&mut connection, name)
        .map_err(|trouble| Trouble::plain(format!("{}: {trouble}", path.display())))
}

/// [`find`] in an open database.
pub(super) fn find_in(connection: &mut SqliteConnection, name: &str) -> Outcome<Option<User>> {
    let by_email =
        store::user_by_email(connection, name).map_err(|failure| Trouble::of(&failure))?;
    if let Some((user, _)) = by_email {
        return Ok(Some(user));
    }
    each_page(connection, |page| Ok(page.into_iter().find(|user| user.user_id == name)))
}

/// Hands on all users in the order of their login names, in pages, until `found` finds something.
pub(super) fn each_page<T>(
    connection: &mut SqliteConnection,
    mut found: impl FnMut(Vec<User>) -> Outcome<Option<T>>,
) -> Outcome<Option<T>> {
    let mut last = String::new();
    loop {
        let page = store::users_after(connection, &last, PAGE_USERS)
            .map_err(|failure| Trouble::of(&failure))?;
        match page.last() {
            Some(user) => last.clone_from(&user.email),
            None => return Ok(None),
        }
        if let Some(found) = found(page)? {
            return Ok(Some(found));
        }
    }
}

/// Opens a database that must be there, and brings its schema up.
pub(super) fn open(path: &Path) -> Outcome<SqliteConnection> {
    if path.exists() {
        return open_or_make(path);
    }
    Err(Trouble::plain(format!(
        "{} does not exist; --data-dir or DATABASE_URL names core's database",
        path.display()
    )))
}

/// Opens a database, makes it when it is not there, and brings its schema up.
pub(super) fn open_or_make(path: &Path) -> Outcome<SqliteConnection> {
    let settings = Data {
        data_dir: PathBuf::new(),
        database_url: None,
        db_pool_size: 1,
        db_pool_timeout: OPEN_DEADLINE,
    };
    // Core's own way to open its store brings the schema up; one connection is enough here.
    conversation::open(path, &settings, &Metrics::new("cli"))
        .and_then(|_pool| database::connect(path))
        .map_err(|failure| Trouble::of(&failure))
}

/// Nobody of this name is known.
pub(super) fn unknown(name: &str, path: &Path) -> Trouble {
    if path.exists() {
        Trouble::plain(format!("no user {name:?} in {}", path.display()))
    } else {
        Trouble::plain(format!("no user {name:?}: {} does not exist", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: usize) -> User {
        User {
            user_id: format!("id{number}"),
            name: format!("Number {number}"),
            email: format!("u{number:04}@example.com"),
        }
    }

    #[test]
    fn a_user_is_found_by_login_name_and_by_id_beyond_the_first_page() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("core.db");
        assert_eq!(find(&path, "id1").unwrap(), None);
        assert!(!path.exists(), "looking makes no file");
        let mut connection = open_or_make(&path).unwrap();
        diesel::Connection::transaction(&mut connection, |connection| {
            for number in 0..1200 {
                store::add_user(connection, &user(number), None, 0).unwrap();
            }
            diesel::QueryResult::Ok(())
        })
        .unwrap();
        assert_eq!(find(&path, "u0001@example.com").unwrap(), Some(user(1)));
        assert_eq!(find(&path, "id1100").unwrap(), Some(user(1100)));
        assert_eq!(find(&path, "id1200").unwrap(), None);
        let mut seen = 0;
        let end = each_page(&mut connection, |page| {
            seen += page.len();
            Ok(None::<()>)
        });
        assert_eq!((end.unwrap(), seen), (None, 1200));
    }
}
