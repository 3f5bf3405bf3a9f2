//! Telling clients that a resource changed, in either era of the protocol: once for many changes
//! that come while the last word is still on its way.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use rmcp::{
    Peer, RoleServer, model::ResourceUpdatedNotificationParam, service::SubscriptionContext,
};
use tokio::{sync::mpsc, task::AbortHandle};

/// Hears that something changed; changes that come before it is asked are one.
pub type Changes = mpsc::Receiver<()>;

/// A pair: whoever says that something changed (`try_send`, and full is as good), and who hears it.
#[must_use]
pub fn changes() -> (mpsc::Sender<()>, Changes) {
    mpsc::channel(1)
}

/// The resources one client watches by `resources/subscribe`, until it ends or unsubscribes.
#[derive(Debug, Default)]
pub struct Watches {
    tasks: Mutex<HashMap<String, AbortHandle>>,
}

impl Watches {
    /// Resources that are watched.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is watched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Watches `uri` from now on; a watch on it that there was is replaced.
    pub fn begin(&self, uri: String, mut changes: Changes, peer: Peer<RoleServer>) {
        let told = uri.clone();
        let task = tokio::spawn(async move {
            while changes.recv().await.is_some() {
                let update = ResourceUpdatedNotificationParam::new(told.clone());
                if peer.notify_resource_updated(update).await.is_err() {
                    return;
                }
            }
        });
        if let Some(before) = self.lock().insert(uri, task.abort_handle()) {
            before.abort();
        }
    }

    /// Runs `work`, called `name`, until this client ends.
    pub fn run(&self, name: &str, work: impl Future<Output = ()> + Send + 'static) {
        let task = tokio::spawn(work);
        if let Some(before) = self.lock().insert(name.to_owned(), task.abort_handle()) {
            before.abort();
        }
    }

    /// Watches `uri` no longer.
    pub fn end(&self, uri: &str) {
        if let Some(task) = self.lock().remove(uri) {
            task.abort();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, AbortHandle>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        for task in self.lock().values() {
            task.abort();
        }
    }
}

/// Tells a subscription of the changes of all `watched` resources until it is cancelled.
pub async fn tell(subscription: &SubscriptionContext, watched: Vec<(String, Changes)>) {
    let mut hearing: FuturesUnordered<_> = watched.into_iter().map(hear).collect();
    loop {
        let (uri, changes) = tokio::select! {
            () = subscription.cancelled() => return,
            Some(heard) = hearing.next() => match heard {
                Some(heard) => heard,
                None => continue,
            },
        };
        if subscription.sink().notify_resource_updated(uri.clone()).await.is_err() {
            return;
        }
        hearing.push(hear((uri, changes)));
    }
}

async fn hear((uri, mut changes): (String, Changes)) -> Option<(String, Changes)> {
    changes.recv().await.map(|()| (uri, changes))
}
