//! Answers of a running backplane: turns stored by `store_input`, questions asked of `get_context`.

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    data::{Data, Question, Turn},
    score::{Answer, DEPTHS},
};
use crate::cli::{
    fetch::Web,
    place::Place,
    session::{Bearer, Session},
    trouble::{Outcome, Trouble},
};

/// Stores what is not stored yet, and asks every question.
pub(super) async fn answers(
    data: &Data,
    core: &str,
    stored: bool,
    session: &Session,
) -> Outcome<Vec<Answer>> {
    let place = Place::at_core(core);
    let web = Web::new();
    if !stored {
        let memory = Service::of("memory", &place, &web, session).await?;
        let turns = data.turns.values().flatten();
        let bar = bar("storing", turns.clone().count());
        for turn in turns {
            memory.call("store_input", &input(turn)).await?;
            bar.inc(1);
        }
        bar.finish_and_clear();
    }
    let cognition = Service::of("cognition", &place, &web, session).await?;
    let bar = bar("asking", data.questions.len());
    let mut answers = Vec::with_capacity(data.questions.len());
    for question in &data.questions {
        answers.push(ask(&cognition, question).await?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(answers)
}

/// A turn as it is stored: under its own id, so that it is stored once however often this runs.
fn input(turn: &Turn) -> Value {
    json!({
        "user_id": turn.conv,
        "input_data": {
            "id": turn.id,
            "conversation_id": turn.conversation(),
            "sender": turn.speaker,
            "role": turn.role.as_deref().unwrap_or("user"),
            "content": turn.text,
            "caption": turn.caption,
            "timestamp": turn.time,
        },
    })
}

async fn ask(cognition: &Service<'_>, question: &Question) -> Outcome<Answer> {
    let [.., limit] = DEPTHS;
    let body = json!({ "user_id": question.conv, "query": question.question, "limit": limit });
    let start = Instant::now();
    let reply = cognition.call("get_context", &body).await?;
    let milliseconds = start.elapsed().as_secs_f64() * 1000.0;
    if let Some(error) = reply.get("error").and_then(Value::as_str) {
        return Err(Trouble::plain(format!("{} is not answered whole: {error}", question.qid)));
    }
    let items = reply.get("context").and_then(Value::as_array).ok_or_else(|| {
        Trouble::plain("get_context answered without `context`: is this another version?")
    })?;
    let id = |item: &Value| item.get("id").and_then(Value::as_str).map(str::to_owned);
    let ranked = items.iter().filter_map(id).collect();
    Ok(Answer { question: question.qid.clone(), ranked, milliseconds })
}

/// A service of the backplane.
struct Service<'a> {
    base: String,
    bearer: Bearer,
    web: &'a Web,
}

impl<'a> Service<'a> {
    async fn of(name: &str, place: &Place, web: &'a Web, session: &Session) -> Outcome<Self> {
        let base = place.of(name, web, session).await?;
        Ok(Service { base, bearer: session.service(name)?, web })
    }

    async fn call(&self, tool: &str, arguments: &Value) -> Outcome<Value> {
        let url = format!("{}/tool/{tool}", self.base);
        let token = self.bearer.token()?;
        self.web.post(&url, &token, arguments.to_string()).await?.success()
    }
}

/// How far it is, on standard error where a person watches.
fn bar(what: &'static str, count: usize) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(count).unwrap_or(u64::MAX));
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.with_message(what)
}
