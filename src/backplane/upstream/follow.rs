//! Streams that last: a session's own one, and the subscription a server of 2026-07-28 answers
//! `subscriptions/listen` with.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::{
    door::{Door, Reply},
    web::Web,
};
use crate::domain::backoff::Backoff;

/// The waits between attempts to open such a stream again.
pub(super) const REOPEN: Backoff =
    Backoff { initial: Duration::from_millis(500), factor: 2.0, cap: Duration::from_secs(60) };
/// A stream that held this long was a good one: the next wait is the first again.
pub(super) const HELD: Duration = Duration::from_secs(30);

/// Reads a session's own stream until the session ends; servers without one answer 405.
pub(super) async fn session(line: Weak<Web>, door: Arc<Door>, head: HeaderMap) {
    const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
    let mut from: Option<String> = None;
    let mut failed = 0;
    loop {
        let mut head = head.clone();
        if let Some(from) = from.as_deref().and_then(|from| HeaderValue::from_str(from).ok()) {
            head.insert(LAST_EVENT, from);
        }
        let opened = tokio::time::Instant::now();
        let mut asked_wait = None;
        match door.get(head).await {
            Ok(Reply::Stream(mut events)) => {
                while let Ok(Some(event)) = events.next().await {
                    let Some(line) = line.upgrade() else { return };
                    from = event.id.or(from);
                    if let Some(data) = event.data {
                        line.overheard(&data);
                    }
                }
                asked_wait = events.retry();
            }
            Ok(Reply::Nothing | Reply::Whole(_)) => return,
            Err(missed) if missed.outcome != crate::domain::breaker::Outcome::Failure => return,
            Err(_trouble) => {}
        }
        failed = if opened.elapsed() >= HELD { 0 } else { failed + 1 };
        let wait =
            REOPEN.wait(failed, fastrand::f64(), asked_wait.map(|wait| wait.min(REOPEN.cap)));
        tokio::time::sleep(wait).await;
        if line.strong_count() == 0 {
            return;
        }
    }
}
