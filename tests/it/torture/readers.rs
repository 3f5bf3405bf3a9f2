//! Readers of the output stream, each with a habit, and callers for context.

use std::{cell::Cell, time::Duration};

use actix_web::http::Method;
use cortex::domain::sse::Event;
use fastrand::Rng;
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt as _,
    time::{Instant, sleep, timeout},
};

use super::{plan::Seat, stage::Stage, tally::Tally};
use crate::harness::{Client, User, events::Events};

/// Silence after which a reader comes back: core sends a comment each second.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Pause before a reader comes back.
const PAUSE: Duration = Duration::from_millis(100);
/// What a caller for context says that it waits.
const CONTEXT_DEADLINE: Duration = Duration::from_secs(4);
/// What it waits: core may be stopped for 3 s meanwhile, and the machine be busy.
const CONTEXT_PATIENCE: Duration = Duration::from_secs(9);

/// What a reader does besides reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Nothing.
    Steady,
    /// Hangs up now and then.
    Leaves,
    /// Takes its time over each event.
    Slow,
}

/// One reader of one user's stream.
pub(crate) struct Reader {
    pub(crate) user: User,
    pub(crate) base: String,
    pub(crate) habit: Habit,
    /// Wants this conversation alone.
    pub(crate) conversation: Option<&'static str>,
    /// Begins before the first event instead of now.
    pub(crate) from_start: bool,
    pub(crate) rng: Rng,
    pub(crate) tally: Tally,
    /// The last event there will be, once that is known.
    pub(crate) goal: super::Goal,
}

/// What a reader saw.
pub(crate) struct Seen {
    pub(crate) user: User,
    pub(crate) habit: Habit,
    pub(crate) conversation: Option<&'static str>,
    pub(crate) from_start: bool,
    /// Numbers and texts, in the order they came.
    pub(crate) events: Vec<(i64, String)>,
}

impl Reader {
    /// Reads until it has the last event, resuming after the last it saw.
    pub(crate) async fn run(mut self) -> Seen {
        let Reader { habit, conversation, from_start, .. } = self;
        let user = self.user.clone();
        let mut seen = Seen { user, habit, conversation, from_start, events: Vec::new() };
        while !self.is_done(&seen) {
            if let Some(mut events) = self.open(&seen).await {
                self.read(&mut events, &mut seen).await;
            }
            self.tally.count("streams that ended");
            sleep(PAUSE).await;
        }
        seen
    }

    fn is_done(&self, seen: &Seen) -> bool {
        let last = seen.events.last().map(|(seq, _)| *seq);
        self.goal.get().is_some_and(|goal| last >= Some(goal))
    }

    async fn open(&self, seen: &Seen) -> Option<Events> {
        let client = Client::new(&self.base).with_token(&self.user.token);
        let wanted = self.conversation.map(|id| format!("?conversation_id={id}"));
        let path = format!("/output/stream{}", wanted.unwrap_or_default());
        let question = client.ask(Method::GET, &path);
        let question = match (seen.events.last(), self.from_start) {
            (Some((last, _)), _) => question.header("last-event-id", &last.to_string()),
            (None, true) => question.header("last-event-id", "0"),
            (None, false) => question,
        };
        match timeout(SILENCE_MAX, question.try_open()).await {
            Ok(Ok(events)) => Some(events),
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// Reads one stream to its end, or to this reader's.
    async fn read(&mut self, events: &mut Events, seen: &mut Seen) {
        let leaves_after = match self.habit {
            Habit::Leaves => self.rng.usize(1..60),
            Habit::Steady | Habit::Slow => usize::MAX,
        };
        let before = seen.events.len();
        while !self.is_done(seen) && seen.events.len() - before < leaves_after {
            match timeout(SILENCE_MAX, events.next_frame()).await {
                Ok(Some(event)) => self.take(&event, seen),
                Ok(None) => return,
                Err(_silent) => {
                    // A comment is no frame: silence is no fault while nothing is said.
                    self.tally.count("streams given up in silence");
                    return;
                }
            }
            if self.habit == Habit::Slow && self.goal.get().is_none() {
                sleep(Duration::from_millis(self.rng.u64(..60))).await;
            }
        }
    }

    fn take(&self, event: &Event, seen: &mut Seen) {
        let Some(data) = &event.data else { return };
        let data: Value = serde_json::from_str(data).unwrap();
        match data["type"].as_str() {
            Some("connection_established" | "heartbeat") => return,
            Some("input") => {}
            Some(_) | None => {
                self.tally.wrong(format!("a {:?} reader was sent {data}", self.habit));
                return;
            }
        }
        let id = event.id.as_ref().and_then(|id| id.parse::<i64>().ok());
        let Some(id) = id else {
            self.tally.wrong(format!("an event without a number: {data}"));
            return;
        };
        if let Some((last, _)) = seen.events.last()
            && id <= *last
        {
            let habit = self.habit;
            self.tally.wrong(format!("a {habit:?} reader got {id} after {last}: {data}"));
        }
        self.tally.count("events read");
        let text = data["data"]["content"].as_str().unwrap_or_default().to_owned();
        seen.events.push((id, text));
    }
}

/// Opens a stream, and never reads it; again and again until dropped.
pub(crate) async fn never_read(stage: &Stage, user: &User) {
    let address = stage.url(Seat::Core).replace("http://", "").parse().unwrap();
    let request = format!(
        "GET /output/stream?after=0 HTTP/1.1\r\nhost: core\r\nauthorization: Bearer {}\r\n\r\n",
        user.token
    );
    loop {
        // Little fits into this socket: core has to keep the rest, or drop the reader.
        let socket = actix_rt::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        if let Ok(mut stream) = socket.connect(address).await
            && stream.write_all(request.as_bytes()).await.is_ok()
        {
            sleep(Duration::from_secs(5)).await;
        }
        sleep(PAUSE).await;
    }
}

/// Asks for context until told to end: each answer must be a 200 or a clear 5xx, and come in time.
pub(crate) async fn ask_for_context(
    stage: &Stage,
    user: &User,
    mut rng: Rng,
    ending: &Cell<bool>,
    tally: &Tally,
) {
    let patience = CONTEXT_DEADLINE.as_millis().to_string();
    while !ending.get() {
        sleep(Duration::from_millis(rng.u64(50..200))).await;
        let (asked, before) = (Instant::now(), stage.generation(Seat::Core));
        let client = Client::new(&stage.url(Seat::Core)).with_token(&user.token);
        let question = client.ask(Method::POST, "/cognition/context");
        let question = question.header("x-cortex-timeout-ms", &patience);
        let question = question.json(&json!({"query": "what was said", "limit": 5}));
        match timeout(CONTEXT_PATIENCE, question.try_send()).await {
            Ok(Ok(answer)) if answer.status == 200 => {
                let data = &answer.json()["data"];
                if data["error"].is_null() {
                    tally.count("context: found");
                    tally.succeeded("cognition", asked);
                } else {
                    tally.count(&format!("context: empty, {}", data["error"]));
                }
            }
            Ok(Ok(answer)) => {
                tally.count(&format!("context: {}", answer.status));
                let body = answer.json();
                let clear = answer.status >= 500
                    && body["error"]["code"].is_string()
                    && body["request_id"].is_string();
                if !clear {
                    tally.wrong(format!("context was answered {}: {body}", answer.status));
                }
            }
            Ok(Err(error)) => {
                tally.count("context: connection broke");
                // Only the end of core, or its start, excuses that.
                if before.is_some() && before == stage.generation(Seat::Core) {
                    tally.wrong(format!("context without an answer from a core that ran: {error}"));
                }
            }
            Err(_elapsed) => tally.wrong(format!("context took over {CONTEXT_PATIENCE:?}")),
        }
    }
}
