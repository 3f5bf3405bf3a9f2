//! The transport of 2024-11-05: one stream of events brings everything, requests are posted to a
//! place the stream names.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use reqwest::{Url, header::HeaderMap};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

use super::{
    call::Missed,
    door::{Door, Reply},
    events::Events,
    pipe::{Out, Pipe},
};

/// Messages posted at once.
const POSTS_AT_ONCE: usize = 32;
/// Time one post may take: it is only taken in, the answer comes by the stream.
const POST_TIME: Duration = Duration::from_secs(30);

/// Opens the stream and speaks over it until the pipe is dropped or the stream ends; must run on
/// the upstreams' runtime.
///
/// # Errors
/// When there is no such stream, or it does not say where to post.
pub(super) async fn start(
    door: Arc<Door>,
    pipe: &Arc<Pipe>,
    outgoing: mpsc::Receiver<Out>,
) -> Result<(), Missed> {
    let Reply::Stream(mut events) = door.get(HeaderMap::new()).await? else {
        return Err(Missed::unreadable(&door.name, "no stream of events"));
    };
    let place = place(&door, &mut events).await?;
    let (gone, end) = oneshot::channel();
    let posting = tokio::spawn(post_all(door, place, outgoing, Arc::downgrade(pipe), gone));
    let (weak, abort) = (Arc::downgrade(pipe), posting.abort_handle());
    tokio::spawn(async move {
        let why = tokio::select! {
            why = hear(*events, weak.clone()) => why,
            _ = end => "nobody asks it any more".to_owned(),
        };
        if let Some(pipe) = weak.upgrade() {
            log::warn!("stream ended upstream={} cause={why:?}", pipe.ears.name);
            pipe.end(&why);
        }
        abort.abort();
    });
    Ok(())
}

/// Where to post, as the first event says; on the same origin only.
async fn place(door: &Door, events: &mut Events) -> Result<Url, Missed> {
    while let Some(event) = events.next().await? {
        let (true, Some(data)) = (event.kind == "endpoint", event.data) else {
            continue;
        };
        let place = door.url.join(data.trim()).ok().filter(|url| url.origin() == door.url.origin());
        return place.ok_or_else(|| {
            Missed::unreadable(&door.name, "the place to post to is not on its own origin")
        });
    }
    Err(Missed::unreadable(&door.name, "its stream does not say where to post"))
}

async fn hear(mut events: Events, pipe: Weak<Pipe>) -> String {
    loop {
        let event = match events.next().await {
            Ok(Some(event)) => event,
            Ok(None) => return "its stream ended".to_owned(),
            Err(missed) => return missed.trouble.to_string(),
        };
        let Some(pipe) = pipe.upgrade() else {
            return "nobody asks it any more".to_owned();
        };
        let data = event.data.filter(|_| event.kind.is_empty() || event.kind == "message");
        if let Some(Err(why)) = data.map(|data| pipe.heard(data.as_bytes())) {
            log::debug!("event not understood upstream={} cause={why}", pipe.ears.name);
        }
    }
}

async fn post_all(
    door: Arc<Door>,
    place: Url,
    mut outgoing: mpsc::Receiver<Out>,
    pipe: Weak<Pipe>,
    _gone: oneshot::Sender<()>,
) {
    let places = Arc::new(Semaphore::new(POSTS_AT_ONCE));
    while let Some(out) = outgoing.recv().await {
        let Ok(permit) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let (door, place, pipe) = (Arc::clone(&door), place.clone(), pipe.clone());
        tokio::spawn(async move {
            let sending = timeout(POST_TIME, door.post_to(place, out.body, HeaderMap::new()));
            let failed = match sending.await {
                Ok(Ok(_taken)) => None,
                Ok(Err(missed)) => Some(missed),
                Err(_elapsed) => Some(Missed::broken(&door.name, "it takes no messages")),
            };
            if let (Some(missed), Some(id), Some(pipe)) = (failed, out.id, pipe.upgrade()) {
                pipe.settle(id, Err(missed));
            }
            drop(permit);
        });
    }
}
