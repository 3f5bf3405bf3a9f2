//! What must be true in the end: of the log, of what readers saw, of the stores and the actors.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tokio::time::{Duration, timeout};

use super::{
    plan::SEATS,
    readers::{Habit, Seen},
    stage::Stage,
    tally::Tally,
    writers::Said,
};
use crate::harness::{Client, User, process::RealProcess};

/// Items read from the log at once.
const PAGE: usize = 1000;

/// An item of memory's log.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) seq: i64,
    id: String,
    conversation: String,
    text: String,
    renamed: bool,
}

impl Entry {
    /// Whether it belongs to this conversation, or to any.
    pub(crate) fn is_of(&self, conversation: Option<&str>) -> bool {
        conversation.is_none_or(|conversation| self.conversation == conversation)
    }
}

/// All of a user's items, in the log's order.
pub(crate) async fn log_of(memory: &Client, user: &User) -> Vec<Entry> {
    let mut log: Vec<Entry> = Vec::new();
    loop {
        let after = log.last().map_or(0, |entry| entry.seq);
        let path = format!("history/{}?after={after}&limit={PAGE}", user.id);
        let items = memory.resource(&path).await;
        let items = items.as_array().unwrap();
        if items.is_empty() {
            return log;
        }
        let text = |item: &Value, key: &str| item[key].as_str().unwrap_or_default().to_owned();
        log.extend(items.iter().map(|item| Entry {
            seq: item["seq"].as_i64().unwrap(),
            id: text(item, "id"),
            conversation: text(item, "conversation_id"),
            text: text(item, "content"),
            renamed: !item["metadata"]["acknowledged_as"].is_null(),
        }));
    }
}

/// Every acknowledged input is stored once, under its id, and each conversation's in their order.
pub(crate) fn on_inputs(users: &[User], logs: &[Vec<Entry>], said: &[Said], tally: &Tally) {
    for what in [LOST, DOUBLED, DISORDERED, UNKNOWN] {
        tally.add(what, 0);
    }
    for (user, log) in users.iter().zip(logs) {
        let rising = log.windows(2).all(|pair| pair[0].seq < pair[1].seq);
        if !rising {
            tally.wrong(format!("the log of {} does not rise", user.name));
        }
        for entry in log.iter().filter(|entry| entry.renamed) {
            tally.wrong(format!("an input was renamed: {entry:?}"));
        }
        let theirs: Vec<&Said> = said.iter().filter(|said| said.user.id == user.id).collect();
        let known: BTreeSet<&str> = theirs.iter().map(|said| said.conversation.as_str()).collect();
        for entry in log.iter().filter(|entry| !known.contains(entry.conversation.as_str())) {
            tally.count(UNKNOWN);
            tally.wrong(format!("nobody said {entry:?}"));
        }
        for said in theirs {
            on_conversation(said, log, tally);
        }
    }
}

const LOST: &str = "acknowledged inputs lost";
const DOUBLED: &str = "acknowledged inputs stored twice";
const DISORDERED: &str = "acknowledged inputs out of order";
const UNKNOWN: &str = "stored inputs nobody sent";

fn on_conversation(said: &Said, log: &[Entry], tally: &Tally) {
    let stored: Vec<&Entry> =
        log.iter().filter(|entry| entry.conversation == said.conversation).collect();
    let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, entry) in stored.iter().enumerate() {
        places.entry(&entry.text).or_default().push(at);
    }
    let mut last = None;
    for input in &said.inputs {
        let Some(at) = places.remove(input.text.as_str()) else {
            tally.count(LOST);
            tally.wrong(format!("lost: {input:?}"));
            continue;
        };
        if at.len() > 1 {
            tally.count(DOUBLED);
            tally.wrong(format!("stored {} times: {input:?}", at.len()));
        }
        if stored[at[0]].id != input.message_id {
            tally.wrong(format!("{input:?} is stored as {:?}", stored[at[0]]));
        }
        if last > Some(at[0]) {
            tally.count(DISORDERED);
            tally.wrong(format!("out of order: {input:?} is {:?}", stored[at[0]]));
        }
        last = last.max(Some(at[0]));
    }
    for text in places.keys() {
        tally.count(UNKNOWN);
        tally.wrong(format!("stored, but never acknowledged: {text}"));
    }
}

/// Every reader saw the log from where it began, each event once.
pub(crate) fn on_readers(users: &[User], logs: &[Vec<Entry>], seen: &[Seen], tally: &Tally) {
    tally.add(MISSED, 0);
    tally.add(AGAIN, 0);
    for Seen { user, habit, conversation, from_start, events } in seen {
        let who = format!("a {habit:?} reader of {}", user.name);
        let at = users.iter().position(|one| one.id == user.id).unwrap();
        let first = if *from_start { i64::MIN } else { events.first().map_or(0, |first| first.0) };
        let expected: BTreeMap<i64, &str> = logs[at]
            .iter()
            .filter(|entry| entry.seq >= first && entry.is_of(*conversation))
            .map(|entry| (entry.seq, entry.text.as_str()))
            .collect();
        let mut got = BTreeMap::new();
        for (seq, text) in events {
            if got.insert(*seq, text.as_str()).is_some() {
                tally.count(AGAIN);
                tally.wrong(format!("{who} saw {seq} again"));
            }
            if expected.get(seq) != Some(&text.as_str()) {
                tally.wrong(format!("{who} saw {text:?} as {seq}: {:?}", expected.get(seq)));
            }
        }
        let missed: Vec<&i64> = expected.keys().filter(|seq| !got.contains_key(*seq)).collect();
        if !missed.is_empty() {
            tally.add(MISSED, u64::try_from(missed.len()).unwrap());
            tally.wrong(format!("{who} missed {} events: {missed:?}", missed.len()));
        }
        if *habit == Habit::Leaves && events.is_empty() {
            tally.wrong(format!("{who} saw nothing"));
        }
    }
}

const MISSED: &str = "events a reader missed";
const AGAIN: &str = "events a reader saw twice";

/// No actor had to be started again.
pub(crate) async fn on_actors(stage: &Stage, tally: &Tally) {
    for seat in SEATS {
        let health = stage.service(seat).get("/health").await.json();
        for actor in health["actors"].as_array().unwrap() {
            if actor["restarts"] != 0 {
                tally.wrong(format!("{seat:?}: {actor}"));
            }
        }
    }
}

/// Longest time to look over both stores.
const CHECK_DEADLINE: Duration = Duration::from_secs(120);

/// `cortex check` finds both stores whole.
pub(crate) async fn on_stores(stage: &Stage, tally: &Tally) {
    for store in ["core", "memory"] {
        let data = stage.data().join(store).display().to_string();
        let mut check = RealProcess::start(&["check", "--store", store, "--data-dir", &data]);
        let ended = async {
            while check.ended().is_none() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            check.wait().await
        };
        match timeout(CHECK_DEADLINE, ended).await {
            Ok(status) if status.success() => tally.count("stores found whole"),
            Ok(status) => tally.wrong(format!("{store}: {status} {}", check.stdout())),
            Err(_elapsed) => tally.wrong(format!("{store}: not looked over in time")),
        }
    }
}
