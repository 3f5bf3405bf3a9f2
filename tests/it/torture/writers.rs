//! Writers: each says numbered inputs in one conversation, one after another, and repeats each
//! under its key until it is acknowledged.

use std::{cell::Cell, collections::BTreeMap, rc::Rc, time::Duration};

use actix_rt::task::JoinHandle;
use actix_web::http::Method;
use fastrand::Rng;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::tally::Tally;
use crate::harness::{Answer, Client, User};

/// Longest wait for one answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(6);
/// Longest time until one input is acknowledged, whatever breaks.
const INPUT_DEADLINE: Duration = Duration::from_secs(60);
/// Longest obeyed `Retry-After`: what is broken here is well again soon.
const RETRY_MAX: Duration = Duration::from_millis(700);

/// One writer in one conversation.
pub(crate) struct Writer {
    pub(crate) name: String,
    pub(crate) user: User,
    /// `None` is the default one.
    pub(crate) conversation: Option<String>,
    pub(crate) base: String,
    pub(crate) rng: Rng,
    pub(crate) tally: Tally,
    pub(crate) ending: Rc<Cell<bool>>,
}

/// An input that was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) text: String,
    pub(crate) message_id: String,
    timestamp: String,
    /// In memory; otherwise on its way there.
    stored: bool,
}

/// All of a writer's inputs, in the order of their first acknowledgement.
pub(crate) struct Said {
    pub(crate) user: User,
    pub(crate) conversation: String,
    pub(crate) inputs: Vec<Acknowledged>,
}

/// What an attempt came to.
enum Attempt {
    /// It is acknowledged.
    Taken(Acknowledged),
    /// It is to be tried again after this pause.
    Again(Duration),
}

/// A second sending of an input that was or is being sent.
struct Twin {
    number: usize,
    sending: JoinHandle<Attempt>,
}

impl Writer {
    /// Writes until told to end; the last input is acknowledged, too.
    pub(crate) async fn run(mut self) -> Said {
        let (mut inputs, mut twins) = (Vec::<Acknowledged>::new(), Vec::new());
        while !self.ending.get() {
            let number = inputs.len();
            if self.rng.u8(..12) == 0 {
                // Twice at once: the other one may come at any time.
                self.tally.count("inputs sent twice at once");
                twins.push(self.twin(number));
            }
            if number > 0 && self.rng.u8(..30) == 0 {
                let old = self.rng.usize(..number);
                self.tally.count("old inputs sent again");
                twins.push(self.twin(old));
            }
            let Some(input) = self.until_taken(number).await else { break };
            inputs.push(input);
            sleep(Duration::from_millis(self.rng.u64(..25))).await;
        }
        for Twin { number, sending } in twins {
            let Attempt::Taken(again) = sending.await.unwrap() else { continue };
            let Some(first) = inputs.get(number) else { continue };
            if again.message_id != first.message_id || again.text != first.text {
                self.tally.wrong(format!("acknowledged as {first:?} and as {again:?}"));
            } else if again.timestamp != first.timestamp {
                // Without memory core cannot look up when it was first said; with it, it must.
                self.tally.count("repeated inputs acknowledged with another time");
                if again.stored && first.stored {
                    self.tally.wrong(format!("acknowledged as {first:?} and as {again:?}"));
                }
            }
        }
        let conversation = self.conversation.unwrap_or_else(|| "default".to_owned());
        Said { user: self.user, conversation, inputs }
    }

    fn text(&self, number: usize) -> String {
        format!("{} {number}", self.name)
    }

    /// Sends an input until it is acknowledged.
    async fn until_taken(&mut self, number: usize) -> Option<Acknowledged> {
        let begun = Instant::now();
        let mut attempts = 0;
        while begun.elapsed() < INPUT_DEADLINE {
            attempts += 1;
            let asked = Instant::now();
            let question = self.question(number);
            match attempt(question, &self.tally).await {
                Attempt::Taken(input) => {
                    if input.text != self.text(number) {
                        self.tally.wrong(format!("{} became {input:?}", self.text(number)));
                    }
                    self.tally.succeeded("core", asked);
                    self.tally.count("inputs acknowledged");
                    if attempts > 1 {
                        self.tally.count("inputs that took several attempts");
                    }
                    return Some(input);
                }
                Attempt::Again(pause) => sleep(pause).await,
            }
        }
        let text = self.text(number);
        self.tally.wrong(format!("{text} not acknowledged within {INPUT_DEADLINE:?}"));
        None
    }

    fn twin(&mut self, number: usize) -> Twin {
        let (question, tally) = (self.question(number), self.tally.clone());
        let sending = actix_rt::spawn(async move { attempt(question, &tally).await });
        Twin { number, sending }
    }

    fn question(&mut self, number: usize) -> crate::harness::client::Question {
        // A connection of its own for each: what a broken one answered cannot reach the next.
        let client = Client::new(&self.base).with_token(&self.user.token);
        let key = format!("{}-{number}", self.name).replace(' ', "-");
        let mut body = BTreeMap::from([("content", json!(self.text(number)))]);
        if let Some(conversation) = &self.conversation {
            body.insert("conversation_id", json!(conversation));
        }
        let question = client.ask(Method::POST, "/input").header("idempotency-key", &key);
        // Some wait no longer than a moment, while core goes on.
        let question = match self.rng.u8(..10) {
            0 => question.header("x-cortex-timeout-ms", &self.rng.u32(20..2000).to_string()),
            _ => question,
        };
        question.json(&json!(body))
    }
}

async fn attempt(question: crate::harness::client::Question, tally: &Tally) -> Attempt {
    let asked = Instant::now();
    let pause = Duration::from_millis(50);
    let answer = match timeout(ANSWER_DEADLINE, question.try_send()).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_broken)) => {
            tally.count("answers that did not come: connection");
            return Attempt::Again(pause);
        }
        Err(_elapsed) => {
            tally.count("answers that did not come: silence");
            return Attempt::Again(pause);
        }
    };
    match answer.status {
        200 => taken(&answer, asked, tally),
        503 | 504 => {
            tally.count(&format!("answers {}", answer.status));
            let after = answer.header("retry-after").and_then(|after| after.parse().ok());
            Attempt::Again(after.map_or(pause, Duration::from_secs).min(RETRY_MAX))
        }
        status => {
            tally.wrong(format!("an input was answered {status}: {}", answer.text()));
            Attempt::Again(RETRY_MAX)
        }
    }
}

fn taken(answer: &Answer, asked: Instant, tally: &Tally) -> Attempt {
    let body = answer.json();
    match body["status"].as_str() {
        Some("received") => {
            tally.count("answers received");
            tally.succeeded("memory", asked);
        }
        Some("received_storage_pending") => tally.count("answers received_storage_pending"),
        Some(_) | None => tally.wrong(format!("an input was answered 200: {body}")),
    }
    if answer.header("idempotency-replayed").is_some() {
        tally.count("answers replayed");
    }
    let text = |name: &str| body["data"][name].as_str().map(str::to_owned);
    match (text("content"), text("message_id"), text("timestamp")) {
        (Some(text), Some(message_id), Some(timestamp)) => {
            let stored = body["status"] == "received";
            Attempt::Taken(Acknowledged { text, message_id, timestamp, stored })
        }
        _ => {
            tally.wrong(format!("an acknowledgement that is not whole: {body}"));
            Attempt::Again(RETRY_MAX)
        }
    }
}
