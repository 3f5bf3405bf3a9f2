//! `store_inputs`: many inputs in one commit, for whoever delivers what has gathered elsewhere.

use serde_json::{Map, Value};

use crate::{
    backplane::{arguments::read, clock, host::Host},
    contract::{
        item::{ALREADY_EXISTS, STORE_INPUTS, Verdict, Verdicts},
        memory::StoreInputs,
    },
    domain::{
        failure::{Failure, Kind},
        principal::Principal,
    },
    services::memory::{
        Memory, intake,
        store::Inserted,
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
    let inputs = inputs.into_iter().map(|input| (input.user_id, input.input_data)).collect();
    let verdicts = memory.store_all(&caller, inputs).await?;
    value(&Verdicts { results: verdicts })
}

fn verdict_of(inserted: &Inserted) -> Verdict {
    let (status, seq, same_body) = match inserted {
        Inserted::Now(seq) => ("stored", *seq, None),
        Inserted::Before { item, same_body } => (ALREADY_EXISTS, item.seq, Some(*same_body)),
    };
    Verdict { status: status.to_owned(), seq: Some(seq), same_body, error: None }
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
        inputs: Vec<(String, Map<String, Value>)>,
    ) -> Result<Vec<Verdict>, Failure> {
        let now = clock::now_micros();
        let mut verdicts = Vec::with_capacity(inputs.len());
        let mut items = Vec::with_capacity(inputs.len());
        for (user_id, input) in inputs {
            caller.must_act_for(&user_id)?;
            match intake::item(&user_id, input, now) {
                Ok(item) => {
                    items.push(item.into());
                    verdicts.push(None);
                }
                Err(failure) => verdicts.push(Some(Verdict::refused(failure.message))),
            }
        }
        let mut stored = match self.write(Write::StoreAll(items)).await? {
            Written::StoredAll(inserted) => inserted.into_iter(),
            Written::Stored { .. }
            | Written::Known { .. }
            | Written::Changed(_)
            | Written::Removed(_) => {
                return Err(Failure::new(Kind::Internal, "the writer gave a wrong answer"));
            }
        };
        let verdict = |refused: Option<Verdict>| {
            refused
                .or_else(|| stored.next().map(|inserted| verdict_of(&inserted)))
                .ok_or_else(|| Failure::new(Kind::Internal, "the writer answered too few"))
        };
        verdicts.into_iter().map(verdict).collect()
    }
}
