//! `cortex restore`: puts a backup in the place of a store that nobody uses, and keeps what was there.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use clap::Args;
use diesel::{SqliteConnection, connection::SimpleConnection as _};
use serde_json::json;

use super::{Holding, Stores, backup, file_name, migrations, open, owner, progress};
use crate::{
    backplane::{
        clock,
        database::{self, Depth, Store},
    },
    cli::{
        out,
        trouble::{Outcome, Trouble},
    },
    services::memory,
};

/// What `cortex restore` takes.
#[derive(Args)]
pub struct RestoreArgs {
    /// Folder of a backup, or one file of it.
    #[arg(value_name = "BACKUP")]
    from: PathBuf,
    /// Print one JSON object per store instead of lines for people.
    #[arg(long)]
    json: bool,
    /// Restore core's store although inputs wait in its outbox; they are lost to memory.
    #[arg(long)]
    discard_outbox: bool,
    #[command(flatten)]
    stores: Stores,
}

/// One store that is to be brought back.
struct Plan {
    store: Store,
    from: PathBuf,
    to: PathBuf,
    /// Nobody else has it until this is dropped.
    held: database::Held,
}

/// What waits in core's outbox, counted; an older store has none.
const WAITING: &str = "SELECT count(*) AS count FROM outbox";
/// Sequence numbers left out where it is not known how far the replaced store had come.
const NUMBERS_LEFT_OUT: i64 = 1 << 32;

/// Brings back each store of the backup: all are held and verified before the first is replaced.
pub(in crate::cli) async fn run(args: RestoreArgs) -> Outcome {
    let mut plans = Vec::new();
    for (store, from) in sources(&args)? {
        let to = match args.stores.named()? {
            Some(path) => path,
            None => args.stores.data_dir.join(file_name(store)),
        };
        let held = database::hold(&to).map_err(|failure| {
            Trouble::plain(format!(
                "{}: stop every process of {} first",
                failure.message,
                store.name()
            ))
        })?;
        plans.push(Plan { store, from, to, held });
    }
    for Plan { store, from, to, .. } in &plans {
        must_be_its_own(*store, to)?;
        if *store == Store::Core && !args.discard_outbox {
            must_have_delivered(to)?;
        }
        let (store, path) = (*store, from.clone());
        let how_far = || format!("{}: verifying the backup", store.name());
        progress::watched(how_far, move || must_be_whole(store, &path)).await?;
    }
    for plan in plans {
        let store = plan.store;
        let written = database::partial_of(&plan.to);
        let how_far = move || {
            let bytes = std::fs::metadata(&written).map(|file| file.len()).unwrap_or_default();
            format!("{}: {} restored", store.name(), progress::size(bytes))
        };
        let to = plan.to.display().to_string();
        let (holding, aside) = progress::watched(how_far, move || put_back(&plan)).await?;
        let kept = aside.as_ref().map(|path| path.display().to_string());
        if args.json {
            let restored = holding.json();
            let line =
                json!({"store": store.name(), "file": to, "restored": restored, "kept": kept});
            out::line(&line.to_string())?;
        } else {
            let kept = kept.map(|kept| format!("; what was there is kept as {kept}"));
            let (name, text) = (store.name(), holding.text());
            out::line(&format!("{name}: {text} restored to {to}{}", kept.unwrap_or_default()))?;
        }
    }
    Ok(())
}

/// The files of the backup, with the stores they are of.
fn sources(args: &RestoreArgs) -> Outcome<Vec<(Store, PathBuf)>> {
    if !args.from.is_dir() {
        return Ok(vec![(args.stores.owner_of(&args.from)?, args.from.clone())]);
    }
    let there: Vec<(Store, PathBuf)> =
        args.stores.places(&args.from).into_iter().filter(|(_, path)| path.exists()).collect();
    match (there.as_slice(), args.stores.named()?) {
        ([], _) => Err(Trouble::Unopened(format!("{} holds no backup", args.from.display()))),
        ([_, _, ..], Some(_)) => Err(Trouble::Unopened(
            "DATABASE_URL names one store, the backup has two: say which with --store".to_owned(),
        )),
        _ => Ok(there),
    }
}

/// The backup must be of this store, whole, and not of a newer schema.
fn must_be_whole(store: Store, from: &Path) -> Outcome {
    let mut connection = open(from)?;
    let found = owner(&mut connection, from)?;
    let refuse = |why: String| {
        Trouble::plain(format!("{} is not restored: {why}; nothing was changed", from.display()))
    };
    if found != store {
        return Err(refuse(format!("it is the store of {}", found.name())));
    }
    database::refuse_newer(&mut connection, &migrations(store))
        .map_err(|failure| refuse(failure.message))?;
    let findings = database::integrity(&mut connection, Depth::Full)
        .map_err(|failure| refuse(failure.message))?;
    findings.into_iter().next().map_or(Ok(()), |finding| Err(refuse(finding)))
}

/// What is to be replaced must not be another service's store.
fn must_be_its_own(store: Store, to: &Path) -> Outcome {
    if !to.exists() {
        return Ok(());
    }
    // What cannot be read says nothing; it may be the damage that is to be mended.
    let found = open(to).and_then(|mut connection| owner(&mut connection, to));
    match found {
        Ok(found) if found != store => Err(Trouble::plain(format!(
            "{} is the store of {}, not of {}; nothing was changed",
            to.display(),
            found.name(),
            store.name()
        ))),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Inputs that wait for memory in core's outbox were acknowledged: they are in no backup.
fn must_have_delivered(core: &Path) -> Outcome {
    let waiting = core
        .exists()
        .then(|| database::open_read_only(core).ok())
        .flatten()
        .and_then(|mut connection| database::count(&mut connection, WAITING).ok())
        .unwrap_or_default();
    if waiting == 0 {
        return Ok(());
    }
    Err(Trouble::plain(format!(
        "{waiting} inputs wait in the outbox of {}: restore memory alone with --store memory and \
         start core to deliver them, or drop them with --discard-outbox; nothing was changed",
        core.display()
    )))
}

/// Copies the backup beside the store, and gives it the store's name when it is whole.
fn put_back(plan: &Plan) -> Outcome<(Holding, Option<PathBuf>)> {
    let Plan { store, from, to, held: _held } = plan;
    let partial =
        database::copy_into(&mut open(from)?, to).map_err(|failure| Trouble::of(&failure))?;
    let old_head = written_back(*store, to);
    match old_head {
        Some(head) => go_on_after(&partial, head)?,
        // Unread, it may have given out any numbers; a margin no store passes between two backups.
        None if *store == Store::Memory => {
            let mut copy = database::connect(&partial).map_err(|failure| Trouble::of(&failure))?;
            let head = memory::store::log_head(&mut copy)
                .map_err(|error| Trouble::plain(format!("{}: {error}", partial.display())))?;
            drop(copy);
            go_on_after(&partial, head.saturating_add(NUMBERS_LEFT_OUT))?;
        }
        None => {}
    }
    let holding = backup::verified(*store, &partial)?;
    let aside = keep_aside(to, old_head.is_some())?;
    database::put_in_place(&partial, to).map_err(|failure| Trouble::of(&failure))?;
    Ok((holding, aside))
}

/// Writes the replaced store's log back into its file, so that the file alone is all of it; its head
/// if it can still be read, 0 for a store without a log.
fn written_back(store: Store, to: &Path) -> Option<i64> {
    if !to.exists() {
        return None;
    }
    let mut connection: SqliteConnection = database::connect(to).ok()?;
    connection.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)").ok()?;
    match store {
        Store::Core | Store::Cognition => Some(0),
        Store::Memory => memory::store::log_head(&mut connection).ok(),
    }
}

/// Numbers that were given out after the backup are not given out again: readers that resume after
/// one of them would miss what gets it.
fn go_on_after(partial: &Path, head: i64) -> Outcome {
    let failed = |error: String| Trouble::plain(format!("{}: {error}", partial.display()));
    if head == 0 {
        return Ok(());
    }
    let mut connection = database::connect(partial).map_err(|failure| Trouble::of(&failure))?;
    memory::store::go_on_after(&mut connection, head).map_err(|error| failed(error.to_string()))?;
    // One file again, without a log of its own.
    connection
        .batch_execute("PRAGMA journal_mode = DELETE")
        .map_err(|error| failed(error.to_string()))?;
    drop(connection);
    std::fs::File::open(partial)
        .and_then(|file| file.sync_all())
        .map_err(|error| failed(error.to_string()))
}

/// Gives what is there a second name with the date; the first stays until the copy takes it. A log
/// that could not be written back goes with it.
fn keep_aside(to: &Path, written_back: bool) -> Outcome<Option<PathBuf>> {
    if !to.exists() {
        remove(&beside(to, "-wal"))?;
        remove(&beside(to, "-shm"))?;
        return Ok(None);
    }
    let stamp: String =
        clock::now_rfc3339().chars().filter(|letter| !matches!(letter, '-' | ':')).collect();
    let aside = to.with_added_extension(format!("replaced-{stamp}"));
    let failed = |error: std::io::Error| Trouble::plain(format!("{}: {error}", aside.display()));
    std::fs::hard_link(to, &aside).map_err(failed)?;
    let log = beside(to, "-wal");
    if written_back {
        remove(&log)?;
    } else if log.exists() {
        std::fs::rename(&log, beside(&aside, "-wal")).map_err(failed)?;
    }
    remove(&beside(to, "-shm"))?;
    Ok(Some(aside))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn remove(path: &Path) -> Outcome {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Trouble::plain(format!("{}: {error}", path.display())))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
