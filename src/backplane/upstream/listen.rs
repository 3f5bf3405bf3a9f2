//! Keeps hearing what changes at an upstream: the subscription of the newer era, the subscriptions
//! of the older one made again on every new line.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use serde_json::{Map, Value, json};
use tokio::{sync::Notify, time::Instant};

use super::{
    call::{Call, Missed},
    door::Reply,
    follow::{HELD, REOPEN},
    lines::{Line, Lines},
    rpc,
    web::Request,
};

/// What is to be heard of.
#[derive(Default)]
pub(super) struct Wanted {
    uris: Mutex<BTreeMap<String, usize>>,
    changed: Notify,
}

impl Wanted {
    /// One more wants `uri`; whether it is the first, or `None` when there are too many.
    pub(super) fn add(&self, uri: &str, most: usize) -> Option<bool> {
        let mut uris = self.uris.lock().unwrap_or_else(PoisonError::into_inner);
        if uris.len() >= most && !uris.contains_key(uri) {
            return None;
        }
        let count = uris.entry(uri.to_owned()).or_default();
        *count += 1;
        let first = *count == 1;
        drop(uris);
        if first {
            self.changed.notify_one();
        }
        Some(first)
    }

    /// One less wants it; whether it was the last.
    pub(super) fn remove(&self, uri: &str) -> bool {
        let mut uris = self.uris.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = uris.get_mut(uri) else {
            return false;
        };
        *count -= 1;
        let last = *count == 0;
        if last {
            uris.remove(uri);
            self.changed.notify_one();
        }
        last
    }

    fn all(&self) -> Vec<String> {
        self.uris.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

/// Listens for as long as the upstream is there.
pub(super) async fn listen(lines: Weak<Lines>, wanted: Arc<Wanted>) {
    let mut failed = 0;
    loop {
        let begun = Instant::now();
        let Some(strong) = lines.upgrade() else { return };
        let outcome = once(strong, &wanted).await;
        failed = if outcome.is_ok() || begun.elapsed() >= HELD { 0 } else { failed + 1 };
        let wait = match outcome {
            Ok(()) => continue,
            Err(missed) => {
                log::debug!("not listening cause={}", missed.trouble);
                REOPEN.wait(failed, 0.5 + fastrand::f64() / 2.0, None)
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Listens until the line ends or what is wanted changes.
async fn once(lines: Arc<Lines>, wanted: &Wanted) -> Result<(), Missed> {
    let taken = if lines.are_children() {
        // A child that nobody asks is not started to be listened to, and not kept for it.
        let Some(line) = up(&lines).await else { return Ok(()) };
        (line, None)
    } else {
        let patience = lines.parts.limits.call_timeout;
        let taken = lines.take(&Call::within(patience)).await?;
        (taken.line.clone(), Some(taken))
    };
    let (line, kept) = taken;
    let Some(peer) = line.peer().cloned() else {
        lines.made.notified().await;
        return Ok(());
    };
    let weak = Arc::downgrade(&lines);
    drop(lines);
    if !peer.modern {
        for uri in wanted.all() {
            let params = Map::from_iter([("uri".to_owned(), Value::from(uri))]);
            line.ask(&Request::new("resources/subscribe", params), None).await?;
        }
        // Until there is another line.
        let _kept = kept;
        return until_another(&weak, &line).await;
    }
    let flag = |path: &[&str]| peer.can(path);
    let mut filter = Map::new();
    for (name, path) in [
        ("toolsListChanged", ["tools", "listChanged"]),
        ("promptsListChanged", ["prompts", "listChanged"]),
        ("resourcesListChanged", ["resources", "listChanged"]),
    ] {
        if flag(&path) {
            filter.insert(name.to_owned(), Value::Bool(true));
        }
    }
    let uris = wanted.all();
    if !uris.is_empty() && flag(&["resources", "subscribe"]) {
        filter.insert("resourceSubscriptions".to_owned(), json!(uris));
    }
    if filter.is_empty() {
        tokio::select! {
            () = wanted.changed.notified() => return Ok(()),
            ended = until_another(&weak, &line) => return ended,
        }
    }
    let params = Map::from_iter([("notifications".to_owned(), Value::Object(filter))]);
    let request = Request::new("subscriptions/listen", params);
    tokio::select! {
        () = wanted.changed.notified() => Ok(()),
        ended = subscribed(&line, &request) => ended,
    }
}

/// The line children's listings go by, once there is one.
async fn up(lines: &Arc<Lines>) -> Option<Line> {
    let made = lines.made.notified();
    if let Some(line) = lines.common() {
        return Some(line);
    }
    // The upstream may go meanwhile: look again from time to time.
    drop(tokio::time::timeout(HELD, made).await);
    lines.common()
}

async fn until_another(lines: &Weak<Lines>, line: &Line) -> Result<(), Missed> {
    let gone = |lines: &Lines| match (lines.common(), line) {
        (Some(Line::Web(now)), Line::Web(then)) => !Arc::ptr_eq(&now, then),
        (Some(Line::Pipe(now)), Line::Pipe(then)) => !Arc::ptr_eq(&now, then),
        _ => true,
    };
    loop {
        tokio::time::sleep(super::SWEEP).await;
        match lines.upgrade() {
            Some(lines) if !gone(&lines) => {}
            _ => return Ok(()),
        }
    }
}

/// One subscription, to its end.
async fn subscribed(line: &Line, request: &Request) -> Result<(), Missed> {
    let web = match line {
        Line::Web(web) => web,
        Line::Pipe(pipe) => return pipe.ask(request, None).await.map(drop),
    };
    let (id, reply) = web.open(request).await?;
    let Reply::Stream(mut events) = reply else {
        // One that answers at once with a result or an error has nothing to tell.
        return Err(Missed::unreadable(&web.door.name, "no stream of changes"));
    };
    while let Some(event) = events.next().await? {
        let Some(data) = event.data else { continue };
        let messages =
            rpc::read(data.as_bytes()).map_err(|why| Missed::unreadable(&web.door.name, why))?;
        for message in messages {
            match message {
                rpc::Incoming::Notice { method, params } => web.ears.notice(&method, params, None),
                rpc::Incoming::Answer { id: theirs, .. } if theirs == Some(id) => return Ok(()),
                rpc::Incoming::Answer { .. } | rpc::Incoming::Request { .. } => {}
            }
        }
    }
    Err(Missed::broken(&web.door.name, "its stream of changes ended"))
}
