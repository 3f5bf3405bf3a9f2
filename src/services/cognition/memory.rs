//! What cognition recalls of a user, and what it says when memory could not be asked for it.

use std::collections::HashSet;

use serde_json::Map;

use crate::{
    backplane::clock,
    contract::{
        cognition::{MEMORY_ERROR, MEMORY_UNAVAILABLE, Trouble},
        fact::{Fact, Told},
        item::{Item, ROLE_USER},
    },
    domain::{
        failure::{Failure, Kind},
        text::{Utterance, head},
    },
};

/// Characters of one item that are judged.
pub(super) const JUDGED_CHARS_MAX: usize = 20_000;
/// The newest items of a user that are looked at.
pub(super) const HISTORY_ITEMS_MAX: usize = 500;
/// The newest items of one conversation that are looked at.
pub(super) const CONVERSATION_ITEMS_MAX: usize = 1000;

/// Items, newest first, and why there may be less than there might be.
#[derive(Default)]
pub(super) struct Recollection {
    pub(super) items: Vec<Remembered>,
    pub(super) trouble: Option<Trouble>,
}

/// One item with what the rules read of it.
pub(super) struct Remembered {
    pub(super) item: Item,
    /// What it is.
    pub(super) told: Told,
    at: i64,
    with_caption: Option<String>,
}

impl Remembered {
    /// What was said, with the text of its picture.
    ///
    /// Its first part, if it is very long: rules read it word by word.
    pub(super) fn text(&self) -> &str {
        head(self.with_caption.as_deref().unwrap_or(&self.item.content), JUDGED_CHARS_MAX)
    }

    /// Whether it was said.
    pub(super) fn is_item(&self) -> bool {
        self.told == Told::Item
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

/// Items with what the rules read of them.
pub(super) fn remembered(items: impl IntoIterator<Item = Item>) -> Vec<Remembered> {
    let remember = |item: Item| {
        let caption = item.caption.as_deref().filter(|text| !text.is_empty());
        Remembered {
            with_caption: caption.map(|caption| format!("{}\n{caption}", item.content)),
            at: clock::parse(&item.timestamp).unwrap_or_default(),
            item,
            told: Told::Item,
        }
    };
    items.into_iter().map(remember).collect()
}

/// A fact as something that is told: its text is the content, and when it began to hold its time.
pub(super) fn remembered_fact(fact: Fact) -> Remembered {
    let item = Item {
        seq: fact.seq,
        id: fact.id,
        sender_id: fact.user_id.clone(),
        user_id: fact.user_id,
        conversation_id: None,
        role: ROLE_USER.to_owned(),
        sender: None,
        caption: None,
        content: fact.text,
        content_type: "text".to_owned(),
        timestamp: fact.valid_from.clone(),
        metadata: Map::new(),
        extra: Map::new(),
    };
    let told = Told::Fact {
        subject: fact.subject,
        key: fact.key,
        source_item_id: fact.source_item_id,
        valid_from: fact.valid_from,
        valid_to: fact.valid_to,
    };
    let at = clock::parse(&item.timestamp).unwrap_or_default();
    Remembered { item, told, at, with_caption: None }
}

/// Two lists as one, newest first, each item once.
pub(super) fn united(mut newest: Vec<Item>, others: Vec<Item>) -> Vec<Item> {
    let known: HashSet<i64> = newest.iter().map(|known| known.seq).collect();
    newest.extend(others.into_iter().filter(|found| !known.contains(&found.seq)));
    newest
}

/// Without memory there is an answer all the same; what the caller did wrong stays a failure.
pub(super) fn trouble(failure: Failure) -> Result<Trouble, Failure> {
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
    Ok(Trouble { error: error.to_owned(), error_detail: Some(failure.message) })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn item(id: &str, seq: i64, further: &Value) -> Item {
        let mut value = json!({
            "id": id, "seq": seq, "user_id": "u", "sender_id": "u", "content": id,
            "timestamp": "1970-01-01T00:00:02Z"
        });
        value.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_picture_speaks_through_its_caption_and_a_display_name_before_an_id() {
        let further = json!({"caption": "a red kite", "sender": "Ann"});
        let items = remembered([item("look", 1, &further), item("plain", 2, &json!({}))]);
        assert_eq!(items[0].text(), "look\na red kite");
        let speakers = utterances(&items).iter().map(|said| said.speaker).collect::<Vec<_>>();
        assert_eq!(speakers, ["Ann", "u"]);
        assert_eq!(items[0].utterance().at, 2_000_000);
    }

    #[test]
    fn an_item_of_both_lists_is_kept_once() {
        let list = |seqs: &[i64]| seqs.iter().map(|seq| item("x", *seq, &json!({}))).collect();
        let seqs: Vec<i64> =
            united(list(&[3, 2]), list(&[2, 1])).iter().map(|item| item.seq).collect();
        assert_eq!(seqs, [3, 2, 1]);
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
            match trouble(failure) {
                Err(passed) => assert!(!passed.is_ours() && passed.kind == kind, "{kind:?}"),
                Ok(trouble) => {
                    assert_eq!(trouble.error, expected, "{kind:?}");
                    assert_eq!(trouble.error_detail.as_deref(), Some("why"));
                }
            }
        }
        for theirs in [Kind::PermissionDenied, Kind::Validation] {
            assert!(trouble(Failure::new(theirs, "why")).is_err());
        }
    }
}
