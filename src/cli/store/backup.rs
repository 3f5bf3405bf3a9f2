//! `cortex backup`: a consistent copy of each store, also while its processes write.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::{Holding, Stores, file_name, open, progress};
use crate::{
    backplane::database::{self, Depth, Store},
    cli::{
        out,
        trouble::{Outcome, Trouble},
    },
};

/// What `cortex backup` takes.
#[derive(Args)]
pub struct BackupArgs {
    /// Folder for the copies, core.db and memory.db; it is made if need be.
    #[arg(value_name = "FOLDER")]
    to: PathBuf,
    /// Replace copies that are there already.
    #[arg(long)]
    force: bool,
    /// Print one JSON object per store instead of a line for people.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    stores: Stores,
}

/// Copies each store, checks the copy, and gives it its name.
pub(in crate::cli) async fn run(args: BackupArgs) -> Outcome {
    let chosen = args.stores.chosen()?;
    // Before anything is written: all or none.
    for (store, from) in &chosen {
        let to = args.to.join(file_name(*store));
        if let (Ok(to), Ok(from)) = (to.canonicalize(), from.canonicalize())
            && to == from
        {
            return Err(Trouble::plain(format!(
                "{} is the store itself; name another folder",
                to.display()
            )));
        }
        if to.exists() && !args.force {
            return Err(Trouble::plain(format!(
                "{} is there already; name another folder, or replace it with --force",
                to.display()
            )));
        }
    }
    for (store, path) in chosen {
        let to = args.to.join(file_name(store));
        let written = database::partial_of(&to);
        let whole = size_of(&path);
        let how_far = || format!("{}: {} of {}", store.name(), size_of(&written), whole);
        let target = to.clone();
        let holding = progress::watched(how_far, move || copy(store, &path, &target)).await?;
        if args.json {
            let saved = json!({"store": store.name(), "file": to, "saved": holding.json()});
            out::line(&saved.to_string())?;
        } else {
            let text = holding.text();
            out::line(&format!("{}: {text} saved to {}", store.name(), to.display()))?;
        }
    }
    Ok(())
}

fn size_of(path: &Path) -> String {
    progress::size(std::fs::metadata(path).map(|file| file.len()).unwrap_or_default())
}

fn copy(store: Store, from: &Path, to: &Path) -> Outcome<Holding> {
    let mut connection = open(from)?;
    let partial =
        database::copy_into(&mut connection, to).map_err(|failure| Trouble::of(&failure))?;
    let holding = verified(store, &partial).inspect_err(|_| {
        if let Err(error) = std::fs::remove_file(&partial) {
            log::warn!("a copy that is not whole is left cause={error}");
        }
    })?;
    database::put_in_place(&partial, to).map_err(|failure| Trouble::of(&failure))?;
    Ok(holding)
}

/// What a finished copy holds, after it was read back whole.
pub(super) fn verified(store: Store, copy: &Path) -> Outcome<Holding> {
    let mut connection = open(copy)?;
    let findings = database::integrity(&mut connection, Depth::Full)
        .map_err(|failure| Trouble::of(&failure))?;
    if let Some(finding) = findings.first() {
        return Err(Trouble::Found(format!(
            "the copy is damaged, as the store may be: {finding}; run `cortex check`"
        )));
    }
    Holding::of(store, &mut connection, copy)
}
