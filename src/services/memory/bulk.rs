//! `store_inputs`: many inputs in one commit, for whoever delivers what has gathered elsewhere.

use diesel::SqliteConnection;
use serde_json::{Map, Value};

use crate::{
    backplane::{arguments::read, clock, host::Host},
    contract::{
        item::{ACKNOWLEDGED_AS, ALREADY_EXISTS, Item, STORE_INPUTS, Verdict, Verdicts},
        memory::{OneInput, StoreInputs},
    },
    domain::{
        failure::{Failure, Kind},
        principal::Principal,
    },
    services::memory::{
        Memory,
        intake::{self, NewItem},
        store::{self, Inserted},
        value,
        writer::{Write, Written},
    },
};

/// Inputs of one call at most.
const INPUTS_MAX: usize = 1000;

/// Memory's table with this tool.
pub(super) fn row(host: Host, memory: &Memory) -> Host {
    let memory = memory.clone();
    let about = "Stores several inputs in one commit, in their order; ids known are stored once.";
    host.tool(STORE_INPUTS, about, &["inputs"], move |caller, arguments| {
        let memory = memory.clone();
        Box::pin(async move { store_inputs(&memory, caller, arguments).await })
    })
}

/// The tool: `inputs` is a list of `{user_id, input_data}`; the answer has one result for each.
async fn store_inputs(
    memory: &Memory,
    caller: Principal,
    arguments: Map<String, Value>,
) -> Result<Value, Failure> {
    let StoreInputs { inputs } = read(arguments)?;
    if inputs.len() > INPUTS_MAX {
        let message = format!("must be at most {INPUTS_MAX}");
        return Err(Failure::invalid_field("inputs", message, "value_error"));
    }
    let verdicts = memory.store_all(&caller, inputs).await?;
    value(&Verdicts { results: verdicts })
}

fn verdict_of(inserted: &Inserted) -> Verdict {
    let (status, seq, same_body) = match inserted {
        Inserted::Now(seq) => ("stored", *seq, None),
        Inserted::Before { item, same_body } => (ALREADY_EXISTS, item.seq, Some(*same_body)),
    };
    Verdict { status: status.to_owned(), seq: Some(seq), same_body, stored_as: None, error: None }
}

impl Memory {
    /// Stores several inputs in one commit, in their order. One that is not acceptable is refused
    /// for itself; the others are stored, all or none.
    ///
    /// # Errors
    /// `permission_denied`, or why they could not be stored.
    async fn store_all(
        &self,
        caller: &Principal,
        inputs: Vec<OneInput>,
    ) -> Result<Vec<Verdict>, Failure> {
        let now = clock::now_micros();
        let mut verdicts = Vec::with_capacity(inputs.len());
        let mut items: Vec<(NewItem, Option<NewItem>)> = Vec::with_capacity(inputs.len());
        for OneInput { user_id, input_data, otherwise_id } in inputs {
            caller.must_act_for(&user_id)?;
            match intake::item(&user_id, input_data, now) {
                Ok(item) => {
                    let otherwise = otherwise_id.map(|id| otherwise(&item, id).into());
                    items.push((item.into(), otherwise));
                    verdicts.push(None);
                }
                Err(failure) => verdicts.push(Some(Verdict::refused(failure.message))),
            }
        }
        let (items, renamed) = self.under_free_ids(items).await?;
        let mut renamed = renamed.into_iter();
        let mut stored = match self.write(Write::StoreAll(items)).await? {
            Written::StoredAll(inserted) => inserted.into_iter(),
            Written::Stored { .. }
            | Written::Known { .. }
            | Written::Changed(_)
            | Written::Remembered(_)
            | Written::Removed(_) => {
                return Err(Failure::new(Kind::Internal, "the writer gave a wrong answer"));
            }
        };
        let mut next = || {
            let verdict = verdict_of(&stored.next()?);
            Some(Verdict { stored_as: renamed.next().flatten(), ..verdict })
        };
        let verdict = |refused: Option<Verdict>| {
            refused
                .or_else(&mut next)
                .ok_or_else(|| Failure::new(Kind::Internal, "the writer answered too few"))
        };
        verdicts.into_iter().map(verdict).collect()
    }

    /// Each input under its id, or under the other one where its own belongs to another input; then
    /// that id too. Whoever names one wants it stored in its place all the same: what follows it in
    /// the call must not come before it.
    async fn under_free_ids(
        &self,
        items: Vec<(NewItem, Option<NewItem>)>,
    ) -> Result<(Vec<NewItem>, Vec<Option<String>>), Failure> {
        if items.iter().all(|(_, otherwise)| otherwise.is_none()) {
            let plain: Vec<NewItem> = items.into_iter().map(|(item, _)| item).collect();
            let renamed = vec![None; plain.len()];
            return Ok((plain, renamed));
        }
        let choose = move |connection: &mut SqliteConnection| {
            let choose = |(own, otherwise): (NewItem, Option<NewItem>)| {
                let Some(otherwise) = otherwise else { return Ok((own, None)) };
                let known = store::body_hash(connection, &own.item.user_id, &own.item.id)?;
                let taken = known.is_some_and(|hash| !hash.is_empty() && hash != own.body_hash);
                let id = taken.then(|| otherwise.item.id.clone());
                Ok((if taken { otherwise } else { own }, id))
            };
            items.into_iter().map(choose).collect::<Result<Vec<_>, Failure>>()
        };
        let chosen = self.database().run("select", "memory_items", choose).await?;
        Ok(chosen.into_iter().unzip())
    }
}

/// An item under another id, which says under which it was acknowledged.
fn otherwise(item: &Item, id: String) -> Item {
    let mut other = Item { id, ..item.clone() };
    other.metadata.insert(ACKNOWLEDGED_AS.to_owned(), item.id.clone().into());
    other
}
