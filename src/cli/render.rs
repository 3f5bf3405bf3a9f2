//! What was said, as lines for people.

use serde_json::Value;

use super::out::{flat, safe};
use crate::{backplane::clock, contract::item::Item};

/// Before each further line of what was said.
const INDENT: &str = "\n    ";

/// A moment to the second, in UTC: `2026-11-20 10:33:05Z`.
pub(super) fn moment(text: &str) -> String {
    let Some(micros) = clock::parse(text) else { return flat(text) };
    let second: String = clock::rfc3339(micros).chars().take(19).collect();
    format!("{}Z", second.replace('T', " "))
}

/// How long ago, in the largest unit that fits: `12s`, `3m`, `7h`, `4d`.
pub(super) fn age(since: &str, now: i64) -> String {
    clock::parse(since).map_or_else(|| flat(since), |then| span((now - then).max(0) / 1_000_000))
}

/// Seconds in the largest unit that fits.
pub(super) fn span(seconds: i64) -> String {
    match seconds {
        ..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// An item of memory as a line.
pub(super) fn item(item: &Item) -> String {
    let who = item.sender.as_deref().filter(|name| !name.is_empty());
    let who = who.or_else(|| Some(item.sender_id.as_str()).filter(|id| !id.is_empty()));
    let who = format!("{} ({})", who.unwrap_or(&item.user_id), item.role);
    said(&item.timestamp, &who, item.conversation_id.as_deref(), &item.content)
}

/// An event of the output stream as a line; `None` for one that only says that the stream lives.
pub(super) fn event(event: &Value) -> Option<String> {
    let text = |key: &str| {
        let inner = event.get("data").and_then(|data| data.get(key));
        inner.or_else(|| event.get(key)).and_then(Value::as_str)
    };
    let kind = event.get("type").and_then(Value::as_str).unwrap_or("event");
    if matches!(kind, "heartbeat" | "connection_established") {
        return None;
    }
    let role = event.get("role").and_then(Value::as_str);
    let who = role.map_or_else(|| kind.to_owned(), |role| format!("{kind} ({role})"));
    let time = text("timestamp").unwrap_or_default();
    let content = text("content")
        .map_or_else(|| event.get("data").unwrap_or(event).to_string(), str::to_owned);
    Some(said(time, &who, text("conversation_id"), &content))
}

fn said(time: &str, who: &str, conversation: Option<&str>, content: &str) -> String {
    let place = conversation.map(|id| format!("[{}]  ", flat(id))).unwrap_or_default();
    let content = safe(content.trim_end()).replace('\n', INDENT);
    format!("{}  {}  {place}{content}", moment(time), flat(who))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_item_names_who_where_and_what_and_further_lines_are_indented() {
        let of = |value| serde_json::from_value::<Item>(value).unwrap();
        let full = of(json!({
            "id": "1", "user_id": "u", "sender_id": "u", "sender": "Ann", "role": "user",
            "conversation_id": "default", "content": "one\ntwo\u{1b}[2J\n",
            "timestamp": "2026-11-20T12:33:05.276624+02:00"
        }));
        assert_eq!(
            item(&full),
            "2026-11-20 10:33:05Z  Ann (user)  [default]  one\n    two\u{fffd}[2J"
        );
        let bare = of(json!({"id": "1", "user_id": "u", "content": "x", "timestamp": "soon"}));
        assert_eq!(item(&bare), "soon  u (user)  x");
    }

    #[test]
    fn events_are_lines_and_signs_of_life_are_not() {
        let input = json!({"type": "input", "conversation_id": "c", "timestamp": "t", "user_id": "u",
            "data": {"content": "hello", "conversation_id": "c",
                     "timestamp": "2026-11-20T10:33:05Z"}});
        assert_eq!(event(&input).unwrap(), "2026-11-20 10:33:05Z  input  [c]  hello");
        let output = json!({"type": "output", "role": "assistant", "content": "hi",
            "timestamp": "2026-11-20T10:33:05Z", "data": {"content": "hi"}});
        assert_eq!(event(&output).unwrap(), "2026-11-20 10:33:05Z  output (assistant)  hi");
        let other = json!({"type": "note", "timestamp": "t", "data": {"a": 1}});
        assert_eq!(event(&other).unwrap(), "t  note  {\"a\":1}");
        assert_eq!(event(&json!({"type": "heartbeat", "timestamp": "t"})), None);
    }

    #[test]
    fn ages_have_one_unit() {
        let now = clock::parse("2026-11-20T10:00:00Z").unwrap();
        for (since, expected) in [
            ("2026-11-20T09:59:55Z", "5s"),
            ("2026-11-20T09:50:00Z", "10m"),
            ("2026-11-20T02:00:00Z", "8h"),
            ("2026-11-10T10:00:00Z", "10d"),
            ("2026-11-20T10:00:01Z", "0s"),
            ("never", "never"),
        ] {
            assert_eq!(age(since, now), expected, "{since}");
        }
    }
}
