//! Those who use core: writers who keep an order, readers who resume.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use actix_web::{body::MessageBody as _, test::TestRequest};
use bytes::Bytes;
use cortex::{
    backplane::token::Tokens,
    contract::item::{DEFAULT_CONVERSATION, Item},
    domain::sse::Parser,
};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use super::{
    Chance, World,
    memory::POISON,
    node::{Machine, REQUEST_TIMEOUT, USERS},
};
use crate::harness::SECRET;

/// How much later than its deadline a request may be answered.
const SLACK: Duration = Duration::from_millis(50);

fn token(user: &str) -> String {
    let life = Duration::from_secs(86_400);
    Tokens::new(SECRET).for_user(user, user, &format!("{user}@example.com"), life).unwrap()
}

/// An input that was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) user: &'static str,
    pub(crate) writer: usize,
    pub(crate) conversation: String,
    pub(crate) content: String,
    /// Whether its key had been used for something else.
    pub(crate) reused: bool,
}

/// What the writers were told.
#[derive(Default)]
pub(crate) struct Told {
    acknowledged: RefCell<Vec<Acknowledged>>,
    /// Inputs that memory refuses, and keys used for a second input.
    odd: Cell<usize>,
}

impl Told {
    pub(crate) fn all(&self) -> Vec<Acknowledged> {
        self.acknowledged.borrow().clone()
    }

    pub(crate) fn odd(&self) -> usize {
        self.odd.get()
    }
}

/// Says one thing after the other in one conversation, and goes on only when it was taken.
pub(crate) struct Writer {
    number: usize,
    user: &'static str,
    token: String,
    conversation: String,
    chance: Chance,
    world: World,
    machine: Rc<Machine>,
    told: Rc<Told>,
}

/// What came of asking.
enum Heard {
    Taken,
    Refused,
    Nothing,
}

impl Writer {
    pub(crate) fn new(
        number: usize,
        world: &World,
        machine: &Rc<Machine>,
        told: &Rc<Told>,
    ) -> Self {
        let mut chance = world.chance();
        let whose = number % USERS.len();
        let conversation =
            if chance.percent(50) { DEFAULT_CONVERSATION.to_owned() } else { format!("c{whose}") };
        let user = USERS[whose];
        Writer {
            number,
            user,
            token: token(user),
            // A conversation of one's own, so that its order is known.
            conversation,
            chance,
            world: world.clone(),
            machine: Rc::clone(machine),
            told: Rc::clone(told),
        }
    }

    pub(crate) async fn write(mut self, count: usize) {
        for number in 0..count {
            sleep(self.chance.ms(0..1500)).await;
            let poison = if self.chance.percent(5) { POISON } else { "" };
            let content = format!("w{}.{number}{poison}", self.number);
            // With a key it is said again until it was heard; without, once.
            let key = self.chance.percent(70).then(|| content.clone());
            // Somebody who uses a key twice, for something else.
            let reused = number > 0 && self.chance.percent(3);
            let key = if reused { Some(format!("w{}.0", self.number)) } else { key };
            let odd = usize::from(reused || !poison.is_empty());
            self.told.odd.set(self.told.odd.get() + odd);
            for _ in 0..30 {
                let heard = self.say(&content, key.as_deref()).await;
                match heard {
                    Heard::Taken => {
                        self.told.acknowledged.borrow_mut().push(Acknowledged {
                            user: self.user,
                            writer: self.number,
                            conversation: self.conversation.clone(),
                            content: content.clone(),
                            reused,
                        });
                        break;
                    }
                    Heard::Refused => break,
                    Heard::Nothing if key.is_none() || reused => break,
                    Heard::Nothing => sleep(self.chance.ms(50..2000)).await,
                }
            }
        }
    }

    async fn say(&mut self, content: &str, key: Option<&str>) -> Heard {
        let mut request = TestRequest::post()
            .uri("/input")
            .insert_header(("authorization", format!("Bearer {}", self.token)))
            .set_json(json!({ "content": content, "conversation_id": self.conversation }));
        if let Some(key) = key {
            request = request.insert_header(("idempotency-key", key));
        }
        let mut patience = REQUEST_TIMEOUT;
        if self.chance.percent(50) {
            patience = self.chance.ms(50..4000);
            let text = patience.as_millis().to_string();
            request = request.insert_header(("x-cortex-timeout-ms", text));
        }
        let begun = Instant::now();
        let asking = self.machine.with(move |node| {
            Box::pin(async move {
                let response = node.answer(request).await;
                let status = response.status().as_u16();
                let body = actix_web::body::to_bytes(response.into_body()).await.ok();
                (status, body.and_then(|body| serde_json::from_slice::<Value>(&body).ok()))
            })
        });
        let hangs_up = if self.chance.percent(10) { self.chance.ms(0..1000) } else { patience * 2 };
        let answer = timeout(hangs_up, asking).await.ok().flatten();
        let took = begun.elapsed();
        self.world.must(
            took <= patience + SLACK,
            format!("{content} was answered after {took:?} of {patience:?}"),
        );
        let Some((status, body)) = answer else {
            self.world.note(format!("{content}: no answer"));
            return Heard::Nothing;
        };
        let body = body.unwrap_or_default();
        let said = if status == 200 { &body["status"] } else { &body["error"]["message"] };
        self.world.note(format!("{content} of {}: {status} {said}", self.user));
        match status {
            200 => Heard::Taken,
            400..=499 => Heard::Refused,
            _ => Heard::Nothing,
        }
    }
}

/// Reads a user's events, and resumes after the last one whenever the stream ends.
pub(crate) struct Reader {
    name: String,
    user: &'static str,
    token: String,
    /// Only those of this conversation.
    conversation: Option<String>,
    world: World,
    machine: Rc<Machine>,
    /// Whether it begins with the first event there ever was, or with what comes next.
    whole: bool,
    seen: RefCell<Vec<i64>>,
    /// Whether it has given up being slow.
    pub(crate) hurries: Cell<bool>,
}

impl Reader {
    pub(crate) fn new(number: usize, world: &World, machine: &Rc<Machine>) -> Rc<Self> {
        let mut chance = world.chance();
        let whose = number % USERS.len();
        let user = USERS[whose];
        let conversation = chance.percent(30).then(|| format!("c{whose}"));
        let whole = chance.percent(60);
        Rc::new(Reader {
            name: format!("reader {number} of {user}"),
            user,
            token: token(user),
            conversation,
            world: world.clone(),
            machine: Rc::clone(machine),
            whole,
            seen: RefCell::default(),
            hurries: Cell::new(false),
        })
    }

    /// Reads for ever.
    pub(crate) async fn read(self: Rc<Self>) {
        let mut chance = self.world.chance();
        loop {
            if let Some(chunks) = self.open().await {
                self.read_one(chunks, &mut chance).await;
            }
            sleep(chance.ms(10..1500)).await;
        }
    }

    /// Where it resumes.
    fn after(&self) -> Option<i64> {
        self.seen.borrow().last().copied().or(self.whole.then_some(0))
    }

    async fn open(&self) -> Option<mpsc::Receiver<Bytes>> {
        let mut query = Vec::new();
        query.extend(self.conversation.iter().map(|id| format!("conversation_id={id}")));
        let mut request =
            TestRequest::get().insert_header(("authorization", format!("Bearer {}", self.token)));
        match self.after() {
            Some(after) if self.whole => query.push(format!("after={after}")),
            Some(after) => request = request.insert_header(("last-event-id", after.to_string())),
            None => {}
        }
        let request = request.uri(&format!("/output/stream?{}", query.join("&")));
        let (chunks, receiver) = mpsc::channel(1);
        let opening = self.machine.with(move |node| {
            Box::pin(async move {
                let response = node.answer(request).await;
                let status = response.status().as_u16();
                // The connection: it ends with the process, or when its reader hangs up.
                tokio::task::spawn_local(async move {
                    let mut body = Box::pin(response.into_body());
                    while let Some(Ok(chunk)) =
                        std::future::poll_fn(|cx| body.as_mut().poll_next(cx)).await
                    {
                        if chunks.send(chunk).await.is_err() {
                            return;
                        }
                    }
                });
                status
            })
        });
        let status = timeout(REQUEST_TIMEOUT, opening).await.ok().flatten()?;
        let after = self.after();
        self.world.note(format!("{} opens after {after:?}: {status}", self.name));
        (status == 200).then_some(receiver)
    }

    async fn read_one(&self, mut chunks: mpsc::Receiver<Bytes>, chance: &mut Chance) {
        let mut parser = Parser::new();
        let slow = chance.percent(20);
        let chunks_at_most = if chance.percent(50) { chance.below(12) } else { usize::MAX };
        for _ in 0..chunks_at_most {
            if slow && !self.hurries.get() {
                sleep(chance.ms(0..8000)).await;
            }
            let Some(chunk) = chunks.recv().await else { break };
            let events = parser.feed(&chunk).expect("a good stream");
            for event in events {
                self.take(event.id.as_deref(), event.data.as_deref());
            }
        }
    }

    fn take(&self, id: Option<&str>, data: Option<&str>) {
        let data: Value = serde_json::from_str(data.unwrap_or("null")).expect("JSON");
        let kind = data["type"].as_str().unwrap_or_default().to_owned();
        if kind != "input" && kind != "output" {
            return;
        }
        let seq: i64 = id.expect("events of the log have ids").parse().expect("a number");
        let last = self.seen.borrow().last().copied();
        self.world.note(format!("{} sees {seq}", self.name));
        self.world.must(
            last.is_none_or(|last| last < seq),
            format!("{} sees {seq} after {last:?}", self.name),
        );
        self.world.must(data["user_id"] == self.user, format!("{} sees {data}", self.name));
        self.seen.borrow_mut().push(seq);
    }

    /// What is missing of the log, or too much.
    pub(crate) fn verdict(&self, log: &[Item]) -> Result<(), String> {
        let seen = self.seen.borrow();
        let begin = if self.whole { Some(1) } else { seen.first().copied() };
        let Some(begin) = begin else { return Ok(()) };
        let concerned = |item: &&Item| {
            item.user_id == self.user
                && item.seq >= begin
                && (self.conversation.is_none() || item.conversation_id == self.conversation)
        };
        let expected: Vec<i64> = log.iter().filter(concerned).map(|item| item.seq).collect();
        if *seen == expected {
            return Ok(());
        }
        Err(format!("{} saw {seen:?} of {expected:?}", self.name))
    }
}
