//! Delivering: a batch of entries goes to memory in one call, and each entry's fate comes back.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::store::{Note, Row};
use crate::{
    backplane::{client::ServicePort, context::RequestContext},
    contract::item::{ACKNOWLEDGED_AS, ALREADY_EXISTS, STORE_INPUTS, Verdict},
    domain::{
        backoff::Repeatable,
        failure::{Failure, Kind},
    },
    services::conversation::id_of,
};

/// Carries batches to memory.
#[derive(Clone)]
pub struct Carrier {
    /// The way to memory.
    pub memory: ServicePort,
    /// Bodies of one batch, in bytes.
    pub batch_bytes_max: usize,
    /// Time for one batch.
    pub deadline: Duration,
}

impl Carrier {
    /// Gives memory the entries, in their order, all or none; what came of each.
    ///
    /// # Errors
    /// Why memory could not be given them.
    pub(super) async fn carry(&self, rows: &[Row]) -> Result<Vec<Note>, Failure> {
        let mut inputs = Vec::with_capacity(rows.len());
        let mut unreadable = Vec::with_capacity(rows.len());
        for row in rows {
            match body(row) {
                Ok(body) => {
                    let otherwise = is_keyed(row).then(|| renamed(row, &body));
                    inputs.push(json!({
                        "user_id": row.user_id, "input_data": body, "otherwise_id": otherwise,
                    }));
                    unreadable.push(None);
                }
                // One that cannot be read must not keep the others.
                Err(failure) => unreadable.push(Some(Note::Refused(failure.message))),
            }
        }
        let expected = inputs.len();
        let mut verdicts = if expected == 0 {
            Vec::new()
        } else {
            let mut arguments = Map::new();
            arguments.insert("inputs".to_owned(), Value::Array(inputs));
            // The ids make a repetition harmless.
            let call = self.memory.call(STORE_INPUTS, arguments, Repeatable::Always);
            let reply = RequestContext::fresh(self.deadline).scope(call).await?;
            verdicts(reply, expected)?
        }
        .into_iter();
        let mut fate = |(row, unreadable): (&Row, Option<Note>)| match unreadable {
            Some(refused) => Ok(refused),
            None => note(row, verdicts.next().unwrap_or_else(missing)),
        };
        rows.iter().zip(unreadable).map(&mut fate).collect()
    }
}

/// Whether the id was made of a caller's key, and may belong to another input.
fn is_keyed(row: &Row) -> bool {
    uuid::Uuid::parse_str(&row.message_id).is_ok_and(|id| id.get_version_num() == 8)
}

/// Never asked for: there are as many verdicts as inputs.
fn missing() -> Verdict {
    Verdict::refused("memory said nothing of it".to_owned())
}

fn body(row: &Row) -> Result<Map<String, Value>, Failure> {
    serde_json::from_str(&row.input).map_err(|error| {
        Failure::new(Kind::Storage, format!("an entry of the outbox cannot be read: {error}"))
    })
}

#[derive(Deserialize)]
struct Reply {
    results: Vec<Verdict>,
}

fn verdicts(reply: Value, expected: usize) -> Result<Vec<Verdict>, Failure> {
    let wrong = |why: String| Failure::new(Kind::BadReply, why).of_service("memory");
    let Reply { results } = serde_json::from_value(reply)
        .map_err(|error| wrong(format!("memory did not confirm the inputs: {error}")))?;
    if results.len() == expected {
        return Ok(results);
    }
    Err(wrong(format!("memory answered {} of {expected} inputs", results.len())))
}

/// What a verdict means for its entry. An id that belongs to another input must not swallow this
/// one, which was acknowledged: memory stores it in its place under the other id it was given, or it
/// goes on under that one itself, where memory could not know in time.
fn note(row: &Row, verdict: Verdict) -> Result<Note, Failure> {
    if let Some(error) = verdict.error {
        return Ok(Note::Refused(error));
    }
    if let Some(id) = verdict.stored_as {
        log::warn!(
            "an idempotency key stood for two inputs, the second was acknowledged while memory was away message={} now={id}",
            row.message_id
        );
        return Ok(Note::Delivered);
    }
    if verdict.status != ALREADY_EXISTS || verdict.same_body != Some(false) {
        return Ok(Note::Delivered);
    }
    let mut input = body(row)?;
    let message_id = renamed(row, &input);
    input.insert("id".to_owned(), message_id.clone().into());
    let metadata = input.entry("metadata").or_insert_with(|| json!({}));
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert(ACKNOWLEDGED_AS.to_owned(), row.message_id.clone().into());
    }
    Ok(Note::Renamed { message_id, input: Value::Object(input).to_string() })
}

/// The new id of an input whose id was taken: the same however often this happens to it.
fn renamed(row: &Row, input: &Map<String, Value>) -> String {
    let said = ["content", "conversation_id", "metadata"].map(|field| input.get(field));
    id_of(&["cortex renamed", &row.user_id, &row.message_id, &json!(said).to_string()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Row {
        Row {
            place: 1,
            message_id: "m".into(),
            user_id: "u".into(),
            conversation_id: "c".into(),
            input: r#"{"id":"m","content":"hi","metadata":{"a":1}}"#.into(),
            created_at: 0,
        }
    }

    fn verdict(value: Value) -> Verdict {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn stored_now_or_before_is_delivered() {
        for said in [
            json!({"status": "stored", "seq": 4}),
            json!({"status": "already_exists", "seq": 4, "same_body": true}),
            json!({"status": "stored", "seq": 4, "stored_as": "other"}),
        ] {
            assert_eq!(note(&entry(), verdict(said)), Ok(Note::Delivered));
        }
    }

    #[test]
    fn a_refused_entry_keeps_the_reason() {
        let said = json!({"status": "refused", "error": "content: too long"});
        let expected = Note::Refused("content: too long".into());
        assert_eq!(note(&entry(), verdict(said)), Ok(expected));
    }

    #[test]
    fn an_id_of_another_input_is_given_up_not_the_input() {
        let said = json!({"status": "already_exists", "seq": 4, "same_body": false});
        let Ok(Note::Renamed { message_id, input }) = note(&entry(), verdict(said)) else {
            panic!("must be renamed");
        };
        let input: Value = serde_json::from_str(&input).unwrap();
        assert_eq!(input["id"], message_id.as_str());
        let again = verdict(json!({"status": "already_exists", "same_body": false}));
        assert!(
            matches!(note(&entry(), again), Ok(Note::Renamed { message_id: id, .. }) if id == message_id),
            "the same input again gets the same id again"
        );
        assert_eq!(input["content"], "hi");
        assert_eq!(input["metadata"], json!({"a": 1, "acknowledged_as": "m"}));
    }

    #[test]
    fn an_answer_for_fewer_entries_confirms_none() {
        let reply = json!({"results": [{"status": "stored", "seq": 1}]});
        assert_eq!(verdicts(reply, 2).unwrap_err().kind, Kind::BadReply);
    }
}
