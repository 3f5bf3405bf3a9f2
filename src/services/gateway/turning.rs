//! Telling clients that a list changed: once for all changes that come close together.

use std::time::Duration;

use rmcp::{Peer, RoleServer, service::SubscriptionContext};
use tokio::sync::watch;

use super::{Turns, listing::Listing};

/// Changes of lists, each time they have settled.
#[derive(Debug)]
pub struct Settled {
    turns: watch::Receiver<Turns>,
    told: Turns,
    pause: Duration,
}

/// Hears of changes from now on; those within `pause` are one.
#[must_use]
pub fn settled(mut turns: watch::Receiver<Turns>, pause: Duration) -> Settled {
    let told = *turns.borrow_and_update();
    Settled { turns, told, pause }
}

/// Which lists changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Tools.
    pub tools: bool,
    /// Prompts.
    pub prompts: bool,
    /// Resources.
    pub resources: bool,
}

impl Changed {
    /// All of them.
    pub const ALL: Changed = Changed { tools: true, prompts: true, resources: true };

    /// Where two listings differ.
    #[must_use]
    pub fn between(before: &Listing, after: &Listing) -> Self {
        Changed {
            tools: before.tools != after.tools,
            prompts: before.prompts != after.prompts,
            resources: before.resources != after.resources || before.templates != after.templates,
        }
    }

    /// These and those.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Changed {
            tools: self.tools || others.tools,
            prompts: self.prompts || others.prompts,
            resources: self.resources || others.resources,
        }
    }

    /// These without those.
    #[must_use]
    pub fn except(self, others: Self) -> Self {
        Changed {
            tools: self.tools && !others.tools,
            prompts: self.prompts && !others.prompts,
            resources: self.resources && !others.resources,
        }
    }

    /// Counts them.
    pub fn count(self, turns: &watch::Sender<Turns>) {
        if self == Changed::default() {
            return;
        }
        turns.send_modify(|turns| {
            turns.tools += u64::from(self.tools);
            turns.prompts += u64::from(self.prompts);
            turns.resources += u64::from(self.resources);
        });
    }
}

impl Settled {
    /// Waits for the next change; `None` when there will be none.
    pub async fn next(&mut self) -> Option<Changed> {
        self.turns.changed().await.ok()?;
        tokio::time::sleep(self.pause).await;
        let now = *self.turns.borrow_and_update();
        let before = std::mem::replace(&mut self.told, now);
        Some(Changed {
            tools: now.tools != before.tools,
            prompts: now.prompts != before.prompts,
            resources: now.resources != before.resources,
        })
    }
}

/// Tells a client with a session.
pub async fn tell_peer(mut settled: Settled, peer: Peer<RoleServer>) {
    while let Some(changed) = settled.next().await {
        let told = async {
            if changed.tools {
                peer.notify_tool_list_changed().await?;
            }
            if changed.prompts {
                peer.notify_prompt_list_changed().await?;
            }
            if changed.resources {
                peer.notify_resource_list_changed().await?;
            }
            Ok::<(), rmcp::ServiceError>(())
        };
        if told.await.is_err() {
            return;
        }
    }
}

/// Tells a subscription, of what it asked for, until it is cancelled.
pub async fn tell_subscription(mut settled: Settled, subscription: &SubscriptionContext) {
    let (sink, accepted) = (subscription.sink(), subscription.accepted());
    let wants = |asked: Option<bool>| asked == Some(true);
    loop {
        let changed = tokio::select! {
            () = subscription.cancelled() => return,
            changed = settled.next() => changed,
        };
        let Some(changed) = changed else { return };
        let told = async {
            if changed.tools && wants(accepted.tools_list_changed) {
                sink.notify_tool_list_changed().await?;
            }
            if changed.prompts && wants(accepted.prompts_list_changed) {
                sink.notify_prompt_list_changed().await?;
            }
            if changed.resources && wants(accepted.resources_list_changed) {
                sink.notify_resource_list_changed().await?;
            }
            Ok::<(), rmcp::service::SubscriptionSendError>(())
        };
        if told.await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn changes_close_together_are_told_once() {
        let turns = watch::Sender::new(Turns::default());
        let mut settled = settled(turns.subscribe(), Duration::from_millis(500));
        turns.send_modify(|turns| turns.tools += 1);
        let (changed, ()) = tokio::join!(settled.next(), async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            turns.send_modify(|turns| turns.tools += 1);
            turns.send_modify(|turns| turns.prompts += 1);
        });
        let expected = Changed { tools: true, prompts: true, resources: false };
        assert_eq!(changed, Some(expected));
        let quiet = tokio::time::timeout(Duration::from_secs(10), settled.next()).await;
        assert!(quiet.is_err(), "nothing more to tell");
        drop(turns);
        assert_eq!(settled.next().await, None);
    }
}
