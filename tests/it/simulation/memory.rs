//! Where memory would be: its log, its words and its rules for inputs, without its disk.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use bytes::Bytes;
use cortex::{
    contract::item::{ALREADY_EXISTS, Item, STORE_INPUTS, Stored, Verdict},
    domain::{failure::Failure, sse},
    services::memory::intake::{self, NewItem},
};
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, watch};

use super::{
    Chance, World,
    network::{Answer, Peer, Request},
};

/// What an input must not hold, by a rule that memory has and core does not know.
pub(crate) const POISON: &str = "poison";
/// Items one page of a history has at most: few, so that a replay takes several.
const PAGE: usize = 3;

/// The log, shared by all of its replicas.
pub(crate) struct Memory {
    world: World,
    log: RefCell<Vec<NewItem>>,
    by_id: RefCell<BTreeMap<(String, String), usize>>,
    head: watch::Sender<usize>,
    chance: RefCell<Chance>,
    /// Whether a batch with an input that is not acceptable is refused as a whole.
    whole: bool,
}

impl Memory {
    pub(crate) fn new(world: &World) -> Rc<Self> {
        let mut chance = world.chance();
        Rc::new(Memory {
            world: world.clone(),
            log: RefCell::default(),
            by_id: RefCell::default(),
            head: watch::Sender::new(0),
            whole: chance.percent(50),
            chance: RefCell::new(chance),
        })
    }

    /// The log as it is.
    pub(crate) fn log(&self) -> Vec<Item> {
        self.log.borrow().iter().map(|new| new.item.clone()).collect()
    }

    pub(crate) fn head(&self) -> i64 {
        self.log.borrow().last().map_or(0, |new| new.item.seq)
    }

    /// Another service stores an item: it is in the log and on the streams as well.
    pub(crate) fn say(&self, user: &str, content: &str) {
        let input = json!({ "content": content, "role": "assistant" });
        let item = intake::item(user, input.as_object().unwrap().clone(), 0).unwrap();
        self.insert(item.into());
    }

    fn insert(&self, mut new: NewItem) -> Stored {
        let key = (new.item.user_id.clone(), new.item.id.clone());
        let mut log = self.log.borrow_mut();
        if let Some(place) = self.by_id.borrow().get(&key) {
            let before = &log[*place];
            return Stored {
                status: ALREADY_EXISTS.to_owned(),
                user_id: key.0,
                item_id: key.1,
                seq: before.item.seq,
                same_body: Some(before.body_hash == new.body_hash),
                item: Some(before.item.clone()),
            };
        }
        // Numbers may be left out: of items that are not there any more.
        let gap = i64::from(self.chance.borrow_mut().percent(20));
        new.item.seq = log.last().map_or(0, |new| new.item.seq) + 1 + gap;
        let (seq, status) = (new.item.seq, "stored".to_owned());
        self.world.note(format!("log {seq}: {} of {}", new.item.content, new.item.user_id));
        self.by_id.borrow_mut().insert(key.clone(), log.len());
        log.push(new);
        self.head.send_replace(log.len());
        Stored { status, user_id: key.0, item_id: key.1, seq, item: None, same_body: None }
    }

    fn accept(user: &Value, input: &Value) -> Result<NewItem, Failure> {
        let input: Map<String, Value> = input.as_object().cloned().unwrap_or_default();
        let item = intake::item(user.as_str().unwrap_or_default(), input, 0)?;
        if item.content.contains(POISON) {
            return Err(Failure::invalid_field("content", "is poison", "value_error"));
        }
        Ok(item.into())
    }

    fn store(&self, arguments: &Value) -> Result<Value, Failure> {
        let new = Memory::accept(&arguments["user_id"], &arguments["input_data"])?;
        Ok(json!({ "result": self.insert(new) }))
    }

    fn store_all(&self, arguments: &Value) -> Result<Value, Failure> {
        let inputs = arguments["inputs"].as_array().expect("a list of inputs");
        let accepted: Vec<_> = inputs
            .iter()
            .map(|input| Memory::accept(&input["user_id"], &input["input_data"]))
            .collect();
        if self.whole
            && let Some(failure) = accepted.iter().find_map(|one| one.as_ref().err())
        {
            return Err(failure.clone());
        }
        let verdicts: Vec<Verdict> = accepted
            .into_iter()
            .map(|one| match one {
                Err(failure) => Verdict::refused(failure.to_string()),
                Ok(new) => {
                    let Stored { status, seq, same_body, .. } = self.insert(new);
                    Verdict { status, seq: Some(seq), same_body, stored_as: None, error: None }
                }
            })
            .collect();
        Ok(json!({ "result": { "results": verdicts } }))
    }

    /// One page of what a user said.
    fn history(&self, path: &str, after: i64) -> Value {
        let mut parts = path.split('/');
        let user = parts.next().unwrap_or_default();
        let conversation = (parts.next() == Some("conversation")).then(|| parts.next()).flatten();
        let log = self.log.borrow();
        let page = log
            .iter()
            .map(|new| &new.item)
            .filter(|item| item.user_id == user && item.seq > after)
            .filter(|item| {
                conversation.is_none() || item.conversation_id.as_deref() == conversation
            })
            .take(PAGE);
        json!(page.collect::<Vec<_>>())
    }

    /// The log from `after` on, and then as it grows.
    fn stream(self: &Rc<Self>, after: Option<i64>) -> mpsc::Receiver<Bytes> {
        let start = after.unwrap_or(self.head()).clamp(0, self.head());
        let (chunks, receiver) = mpsc::channel(4);
        let (memory, mut head) = (Rc::clone(self), self.head.subscribe());
        tokio::task::spawn_local(async move {
            let (mut text, mut place) = (format!("id: {start}\n\n"), 0);
            loop {
                text.push_str(&memory.rendered(place, start));
                place = memory.log.borrow().len();
                let chunk = Bytes::from(std::mem::take(&mut text));
                if !chunk.is_empty() && chunks.send(chunk).await.is_err() {
                    return;
                }
                tokio::select! {
                    () = chunks.closed() => return,
                    _ = head.wait_for(|length| *length > place) => {}
                }
            }
        });
        receiver
    }

    fn rendered(&self, from: usize, after: i64) -> String {
        let log = self.log.borrow();
        let fresh = log[from..].iter().filter(|new| new.item.seq > after);
        fresh
            .map(|new| sse::render(Some(new.item.seq), &serde_json::to_string(&new.item).unwrap()))
            .collect()
    }
}

/// One of the processes that serve the log.
pub(crate) struct Replica(pub(crate) Rc<Memory>);

impl Peer for Replica {
    fn answer(&self, request: &Request) -> Answer {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let after = query.split('&').find_map(|pair| pair.strip_prefix("after="));
        let after = after.map(|text| text.parse::<i64>().unwrap());
        let arguments = &request.body["arguments"];
        let memory = &self.0;
        let answer = match path.trim_start_matches('/').split_once('/') {
            None => Ok(json!({ "status": "healthy" })),
            Some(("tool", "store_input")) => memory.store(arguments),
            Some(("tool", STORE_INPUTS)) => memory.store_all(arguments),
            Some(("resource", "log/head")) => Ok(json!({ "seq": memory.head() })),
            Some(("resource", "log/stream")) => return Answer::Live(memory.stream(after)),
            Some(("resource", rest)) => match rest.strip_prefix("history/") {
                Some(whose) => Ok(memory.history(whose, after.expect("where to begin"))),
                None => Err(Failure::not_found("resource", rest)),
            },
            Some(_) => Err(Failure::not_found("path", path)),
        };
        match answer {
            Ok(value) => Answer::Json(200, value),
            Err(failure) => {
                let error = json!({ "code": failure.kind.code(), "message": failure.message });
                Answer::Json(422, json!({ "error": error }))
            }
        }
    }
}
