//! Publishes the log to this process's streams: what this process stored at once, what others
//! stored from the log, in order, no gap and no repeat.

use diesel::SqliteConnection;

use crate::{
    backplane::fanout::{Broadcast, Bus},
    domain::{
        failure::Failure,
        published::{Published, Step},
    },
    services::memory::{changes, entries},
};

/// Entries of other processes read from the log at once.
const FILL_PAGE: i64 = 500;

/// Stands between the log and the event bus; the writer's alone.
pub struct Announcer {
    bus: Bus,
    published: Published,
}

impl Announcer {
    /// Publishes to `bus` what comes after `head`.
    #[must_use]
    pub fn new(bus: Bus, head: i64) -> Self {
        Announcer { bus, published: Published::upto(head) }
    }

    /// This process committed `own`: its transaction found the log at `before` and left it at
    /// `after`.
    pub(super) fn committed(
        &mut self,
        connection: Option<&mut SqliteConnection>,
        (before, after): (i64, i64),
        own: Vec<Broadcast>,
    ) {
        self.fill(connection, before);
        if !own.is_empty() {
            self.bus.publish(own);
        }
        self.published = Published::upto(after);
    }

    /// Publishes what others stored, up to `head`.
    pub(super) fn fill(&mut self, connection: Option<&mut SqliteConnection>, head: i64) {
        let filled = match (self.published.step(head), connection) {
            (Step::Direct, _) => Ok(()),
            (Step::Fill { after, upto }, Some(connection)) => {
                self.publish_between(connection, after, upto)
            }
            (Step::Fill { .. } | Step::Reset, _) => {
                log::warn!("too much was stored by others at once; streams resume head={head}");
                self.bus.end_streams();
                Ok(())
            }
        };
        if let Err(failure) = filled {
            log::error!("the log cannot be read for streams; they resume cause={failure}");
            self.bus.end_streams();
        }
        self.published = Published::upto(head);
    }

    fn publish_between(
        &self,
        connection: &mut SqliteConnection,
        mut after: i64,
        upto: i64,
    ) -> Result<(), Failure> {
        while after < upto {
            // Numbers may be missing: of items that were removed, or never stored.
            let page = changes::page(connection, None, after, FILL_PAGE)?;
            after = page.upto;
            let theirs = page.entries.iter().filter(|entry| entry.seq <= upto);
            let events: Vec<Broadcast> = theirs.filter_map(entries::broadcast).collect();
            if !events.is_empty() {
                self.bus.publish(events);
            }
            if !page.more {
                return Ok(());
            }
        }
        Ok(())
    }
}
