//! What cognition fetches from memory, and what it does when memory does not give it.

use std::{collections::HashSet, rc::Rc};

use futures_util::future::try_join;
use serde_json::Value;

use crate::{
    backplane::{
        client::{Clients, segment},
        clock,
    },
    contract::{
        cognition::{MEMORY_ERROR, MEMORY_UNAVAILABLE, Trouble},
        item::Item,
    },
    domain::{
        failure::{Failure, Kind},
        text::{Utterance, head},
    },
};

/// Characters of one item that are judged.
pub(super) const JUDGED_CHARS_MAX: usize = 20_000;
/// The newest items of a user that are looked at.
const HISTORY_ITEMS_MAX: usize = 500;
/// The newest items of one conversation that are looked at.
const CONVERSATION_ITEMS_MAX: usize = 1000;

/// The way to the memory service.
pub(super) struct Memory {
    clients: Rc<Clients>,
}

/// Items as memory gave them, newest first; none, and why, when it did not.
#[derive(Default)]
pub(super) struct Recollection {
    pub(super) items: Vec<Remembered>,
    pub(super) trouble: Option<Trouble>,
}

/// One item with what the rules read of it.
pub(super) struct Remembered {
    pub(super) item: Item,
    at: i64,
    with_caption: Option<String>,
}

impl Memory {
    pub(super) fn new(clients: Rc<Clients>) -> Self {
        Memory { clients }
    }

    /// The newest items of `user_id`.
    pub(super) async fn newest(&self, user_id: &str) -> Result<Recollection, Failure> {
        tolerate(self.fetch(history_path(user_id)).await)
    }

    /// The newest items of one conversation of `user_id`.
    pub(super) async fn conversation(
        &self,
        user_id: &str,
        conversation_id: &str,
    ) -> Result<Recollection, Failure> {
        let path = conversation_path(user_id, conversation_id);
        tolerate(self.fetch(path).await)
    }

    /// The newest items of one conversation, or of all when none is named.
    pub(super) async fn all_or_conversation(
        &self,
        user_id: &str,
        conversation_id: Option<&str>,
    ) -> Result<Recollection, Failure> {
        match conversation_id {
            None => self.newest(user_id).await,
            Some(conversation_id) => self.conversation(user_id, conversation_id).await,
        }
    }

    /// The newest items of `user_id` and those of one conversation, each once.
    pub(super) async fn both(
        &self,
        user_id: &str,
        conversation_id: &str,
    ) -> Result<Recollection, Failure> {
        let fetched = try_join(
            self.fetch(history_path(user_id)),
            self.fetch(conversation_path(user_id, conversation_id)),
        )
        .await;
        tolerate(fetched.map(|(newest, conversation)| united(newest, conversation)))
    }

    async fn fetch(&self, path: String) -> Result<Vec<Remembered>, Failure> {
        let values = self.clients.of("memory")?.read(path).await?;
        Ok(understood(values))
    }
}

impl Remembered {
    /// What was said, with the text of its picture.
    ///
    /// Its first part, if it is very long: rules read it word by word.
    pub(super) fn text(&self) -> &str {
        head(self.with_caption.as_deref().unwrap_or(&self.item.content), JUDGED_CHARS_MAX)
    }

    /// As the rules see it.
    pub(super) fn utterance(&self) -> Utterance<'_> {
        Utterance {
            content: self.text(),
            speaker: self.item.sender.as_deref().unwrap_or(&self.item.sender_id),
            at: self.at,
            seq: self.item.seq,
        }
    }
}

/// All of them as the rules see them.
pub(super) fn utterances<'a>(
    items: impl IntoIterator<Item = &'a Remembered>,
) -> Vec<Utterance<'a>> {
    items.into_iter().map(Remembered::utterance).collect()
}

/// Reads items, newest first. What is no item is left out; one whose time cannot be read is taken
/// to be of the time of the one before it.
pub(super) fn understood(values: Vec<Value>) -> Vec<Remembered> {
    let (mut skipped, mut cause, mut at) = (0_usize, None, None);
    let mut items = Vec::with_capacity(values.len());
    for value in values {
        match serde_json::from_value::<Item>(value) {
            Ok(item) => {
                at = clock::parse(&item.timestamp).or(at);
                let caption = item.caption.as_deref().filter(|text| !text.is_empty());
                items.push(Remembered {
                    with_caption: caption.map(|caption| format!("{}\n{caption}", item.content)),
                    at: at.unwrap_or_default(),
                    item,
                });
            }
            Err(error) => {
                skipped += 1;
                cause = Some(error);
            }
        }
    }
    if let Some(cause) = cause {
        log::warn!("items not understood service=memory skipped={skipped} cause={cause}");
    }
    items
}

/// The newest items and those of the conversation that are older.
fn united(mut newest: Vec<Remembered>, conversation: Vec<Remembered>) -> Vec<Remembered> {
    let known: HashSet<String> = newest.iter().map(|known| known.item.id.clone()).collect();
    let older = conversation.into_iter().filter(|found| !known.contains(&found.item.id));
    newest.extend(older);
    newest
}

/// Without memory there is an answer all the same; what the caller did wrong stays a failure.
fn tolerate(fetched: Result<Vec<Remembered>, Failure>) -> Result<Recollection, Failure> {
    let failure = match fetched {
        Ok(items) => {
            return Ok(Recollection { items, trouble: None });
        }
        Err(failure) => failure,
    };
    let error = match failure.kind {
        Kind::PermissionDenied
        | Kind::Conflict
        | Kind::Validation
        | Kind::InvalidRequest
        | Kind::InvalidParameter
        | Kind::MissingParameter
        | Kind::TooLarge => return Err(failure),
        Kind::Overloaded
        | Kind::Unavailable
        | Kind::CircuitOpen
        | Kind::Timeout
        | Kind::Connection => MEMORY_UNAVAILABLE,
        // Our own token, our own path or memory itself: nothing the caller could mend.
        Kind::InvalidCredentials
        | Kind::TokenExpired
        | Kind::Unauthorized
        | Kind::NotFound
        | Kind::ToolNotFound
        | Kind::ServiceNotFound
        | Kind::MethodNotAllowed
        | Kind::UnsupportedMedia
        | Kind::NotAcceptable
        | Kind::BodyTimeout
        | Kind::WrongStore
        | Kind::BadReply
        | Kind::Storage
        | Kind::ToolFailed
        | Kind::Internal => MEMORY_ERROR,
    };
    log::warn!("answering without memory service=memory error={error} cause={failure}");
    Ok(Recollection {
        items: Vec::new(),
        trouble: Some(Trouble { error: error.to_owned(), error_detail: Some(failure.message) }),
    })
}

fn history_path(user_id: &str) -> String {
    format!("history/{}?limit={HISTORY_ITEMS_MAX}", segment(user_id))
}

fn conversation_path(user_id: &str, conversation_id: &str) -> String {
    format!(
        "history/{}/conversation/{}?limit={CONVERSATION_ITEMS_MAX}",
        segment(user_id),
        segment(conversation_id)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn item(id: &str, timestamp: &str) -> Value {
        json!({"id": id, "user_id": "u", "sender_id": "u", "content": id, "timestamp": timestamp})
    }

    #[test]
    fn paths_carry_ids_as_one_segment() {
        assert_eq!(history_path("a/b"), "history/a%2Fb?limit=500");
        assert_eq!(conversation_path("u", "c?d"), "history/u/conversation/c%3Fd?limit=1000");
    }

    #[test]
    fn what_is_no_item_is_left_out_and_what_has_no_time_takes_its_neighbours() {
        let values =
            vec![item("b", "1970-01-01T00:00:02Z"), json!({"end": true}), item("a", "yesterday")];
        let items = understood(values);
        let seen: Vec<(&str, i64)> = items.iter().map(|kept| (kept.text(), kept.at)).collect();
        assert_eq!(seen, [("b", 2_000_000), ("a", 2_000_000)]);
    }

    #[test]
    fn a_picture_speaks_through_its_caption_and_a_display_name_before_an_id() {
        let mut value = item("look", "t");
        value["caption"] = json!("a red kite");
        value["sender"] = json!("Ann");
        let items = understood(vec![value, item("plain", "t")]);
        assert_eq!(items[0].text(), "look\na red kite");
        let speakers = utterances(&items).iter().map(|said| said.speaker).collect::<Vec<_>>();
        assert_eq!(speakers, ["Ann", "u"]);
    }

    #[test]
    fn an_item_of_both_lists_is_kept_once() {
        let newest = understood(vec![item("c", "t"), item("b", "t")]);
        let conversation = understood(vec![item("b", "t"), item("a", "t")]);
        let ids: Vec<String> =
            united(newest, conversation).into_iter().map(|kept| kept.item.id).collect();
        assert_eq!(ids, ["c", "b", "a"]);
    }

    #[test]
    fn each_kind_of_failure_is_passed_on_or_told_as_trouble() {
        for kind in Kind::ALL {
            let failure = Failure::new(kind, "why");
            let away = [
                Kind::CircuitOpen,
                Kind::Connection,
                Kind::Timeout,
                Kind::Unavailable,
                Kind::Overloaded,
            ];
            let expected = if away.contains(&kind) { MEMORY_UNAVAILABLE } else { MEMORY_ERROR };
            match tolerate(Err(failure)) {
                Err(passed) => assert!(!passed.is_ours() && passed.kind == kind, "{kind:?}"),
                Ok(told) => {
                    let trouble = told.trouble.unwrap();
                    assert_eq!(trouble.error, expected, "{kind:?}");
                    assert_eq!(trouble.error_detail.as_deref(), Some("why"));
                }
            }
        }
        for theirs in [Kind::PermissionDenied, Kind::Validation] {
            assert!(tolerate(Err(Failure::new(theirs, "why"))).is_err());
        }
    }
}
