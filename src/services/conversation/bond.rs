//! Which store of memory core follows: kept in core's own store, so that another one, which would
//! give out the same sequence numbers for other items, is never taken for it.

use diesel::{prelude::*, upsert::excluded};

use crate::{
    backplane::{
        database::{Database, storage_failure},
        discovery::Directory,
    },
    domain::failure::{Failure, Kind},
    services::conversation::schema::followed_stores,
};

/// The service whose store is followed.
const SERVICE: &str = "memory";

/// The store that is followed, or will be once one is met. Cheap to clone.
#[derive(Clone)]
pub struct Bond {
    database: Database,
    directory: Directory,
}

impl Bond {
    /// Takes up the store that core followed before. One that is `accepted` takes its place.
    ///
    /// # Errors
    /// `database_error`.
    pub async fn take_up(
        database: Database,
        directory: Directory,
        accepted: Option<String>,
    ) -> Result<Self, Failure> {
        let bond = Bond { database, directory };
        let known = bond.database.run("select", "followed_stores", followed).await?;
        match (known, accepted.filter(|id| !id.is_empty())) {
            (Some(known), Some(accepted)) if known != accepted => {
                log::warn!("another store of memory is accepted before={known} now={accepted}");
                bond.keep(accepted).await?;
            }
            (None, Some(accepted)) => bond.keep(accepted).await?,
            (Some(known), _) => bond.directory.bind(SERVICE, &known),
            (None, None) => {}
        }
        Ok(bond)
    }

    /// A store is met: the first one is the one that is followed from now on.
    ///
    /// # Errors
    /// `database_error` when that cannot be kept; `service_unavailable` for another one.
    pub(super) async fn meet(&self, store: &str) -> Result<(), Failure> {
        match self.directory.store_of(SERVICE) {
            None => {
                log::info!("this store of memory is followed from now on store={store}");
                self.keep(store.to_owned()).await
            }
            Some(bound) if *bound == *store => Ok(()),
            Some(bound) => {
                let text = format!("memory has the store {store} instead of {bound}");
                Err(Failure::new(Kind::Unavailable, text).of_service(SERVICE))
            }
        }
    }

    /// On the disk first: what is followed without being kept would be forgotten.
    async fn keep(&self, store: String) -> Result<(), Failure> {
        let kept = store.clone();
        let keep = move |connection: &mut SqliteConnection| {
            diesel::insert_into(followed_stores::table)
                .values((followed_stores::service.eq(SERVICE), followed_stores::store_id.eq(&kept)))
                .on_conflict(followed_stores::service)
                .do_update()
                .set(followed_stores::store_id.eq(excluded(followed_stores::store_id)))
                .execute(connection)
                .map(|_| ())
                .map_err(|error| storage_failure(&error))
        };
        self.database.run("update", "followed_stores", keep).await?;
        self.directory.bind(SERVICE, &store);
        Ok(())
    }
}

fn followed(connection: &mut SqliteConnection) -> Result<Option<String>, Failure> {
    followed_stores::table
        .find(SERVICE)
        .select(followed_stores::store_id)
        .first(connection)
        .optional()
        .map_err(|error| storage_failure(&error))
}
