//! `export_user`: everything that is kept of a user, in pages of bounded size.

use diesel::SqliteConnection;

use super::store::{self, Order, Which};
use crate::{
    backplane::{
        arguments::{read, required_subject},
        host::Host,
    },
    contract::fact::{ExportUser, Exported, Kept},
    domain::{failure::Failure, principal::Principal},
    services::memory::{
        Memory,
        store::{Filter, Page, head, page_upto},
        value,
    },
};

/// Items and facts of one page at most (count).
const PAGE_MAX: i64 = 1000;
/// Items and facts of a page when nobody says how many (count).
const PAGE_DEFAULT: i64 = 500;

/// Memory's table with this tool.
pub(super) fn row(host: Host, memory: &Memory) -> Host {
    let memory = memory.clone();
    let about = "Everything that is kept of a user, items and facts, page by page.";
    host.tool("export_user", about, &["user_id", "after", "limit"], move |caller, arguments| {
        let memory = memory.clone();
        Box::pin(async move { value(&memory.export(&caller, read(arguments)?).await?) })
    })
}

impl Memory {
    /// One page. What is there from the first page to the last is told once, as it is when its page
    /// is read, also while others write: numbers are given out in order, and stay.
    async fn export(&self, caller: &Principal, asked: ExportUser) -> Result<Exported, Failure> {
        let user_id = required_subject(caller, asked.user_id)?;
        let after = asked.after.unwrap_or(0).max(0);
        let limit = asked.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
        let read = move |connection: &mut _| page(connection, user_id, after, limit);
        self.reads.run("select", "memory_items", read).await
    }
}

fn page(
    connection: &mut SqliteConnection,
    user_id: String,
    after: i64,
    limit: i64,
) -> Result<Exported, Failure> {
    // Read first: what is stored meanwhile has higher numbers, and is for the next page.
    let head = head(connection)?;
    let filter = Filter { user_id: Some(user_id.clone()), ..Filter::default() };
    let items = page_upto(connection, &filter, Page::After(after, limit), head)?;
    let which = Which { user_id: user_id.clone(), ..Which::default() };
    let (facts, cut) = store::page(connection, &which, Order::After(after, limit))?;
    let facts_to = facts.last().map(|last| last.seq).filter(|_| cut);
    let upto = items.read_to.into_iter().chain(facts_to).min();
    let told_to = upto.unwrap_or(head).min(head);
    let facts = facts.into_iter().map(|row| Kept::Fact(Box::new(row.into())));
    let items = items.items.into_iter().map(|item| Kept::Item(Box::new(item)));
    let mut entries: Vec<Kept> = items.chain(facts).filter(|kept| kept.seq() <= told_to).collect();
    entries.sort_by_key(Kept::seq);
    Ok(Exported {
        user_id,
        entries,
        upto: told_to.max(after),
        more: upto.is_some_and(|at| at < head),
    })
}
