//! The index of one user: who said which words when, in memory.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
};

use super::{prepared::Prepared, temporal::Span, traits::Traits, words};
use crate::domain::text::count_f64;

/// The number of nobody: no neighbour on that side.
pub(super) const NOBODY: u32 = u32::MAX;
/// Postings are cleaned of removed items when these are more than this and than the others.
const REMOVED_BEFORE_CLEANING: usize = 256;
/// What a map's entry takes beside its key and value, in bytes, about.
const ENTRY_BYTES: usize = 24;

/// An item by its number within the index, which is given in the order of insertion.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) seq: i64,
    pub(super) at: i64,
    pub(super) session: u32,
    pub(super) sender: u32,
    pub(super) role: u32,
    /// The neighbours in its session by time, then number in the log; [`NOBODY`] at an end.
    pub(super) before: u32,
    pub(super) after: u32,
    pub(super) length: u32,
    /// The logarithm of one more than the length.
    pub(super) telling: f64,
    pub(super) traits: Traits,
    pub(super) alive: bool,
}

/// An item that has a term, and how often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Posting {
    pub(super) item: u32,
    pub(super) count: u32,
}

/// Names, each with a number.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    numbers: BTreeMap<String, u32>,
    /// How often each was taken and not given back.
    uses: Vec<u32>,
    bytes: usize,
}

impl Names {
    /// The number of a name, which is used once more.
    fn take(&mut self, name: &str) -> u32 {
        let next = u32::try_from(self.uses.len()).unwrap_or(NOBODY);
        let number = self.numbers.get(name).copied().unwrap_or(next);
        if number == next {
            self.bytes += name.len() + size_of::<(String, u32, u32)>() + ENTRY_BYTES;
            self.numbers.insert(name.to_owned(), number);
            self.uses.push(0);
        }
        if let Some(uses) = self.uses.get_mut(wide(number)) {
            *uses = uses.saturating_add(1);
        }
        number
    }

    fn give_back(&mut self, number: u32) {
        if let Some(uses) = self.uses.get_mut(wide(number)) {
            *uses = uses.saturating_sub(1);
        }
    }

    /// The number of a name that is known.
    pub(super) fn known(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// The number of a name that some item has.
    pub(super) fn in_use(&self, name: &str) -> Option<u32> {
        self.known(name).filter(|number| self.uses.get(wide(*number)).is_some_and(|uses| *uses > 0))
    }

    /// Names that begin like this, with their numbers.
    pub(super) fn beginning(&self, head: &str) -> impl Iterator<Item = (&str, u32)> {
        let from = self.numbers.range::<str, _>((Bound::Included(head), Bound::Unbounded));
        let head = head.to_owned();
        from.take_while(move |(name, _)| name.starts_with(&head))
            .map(|(name, number)| (name.as_str(), *number))
    }

    fn used(&self) -> impl Iterator<Item = (&str, u32)> {
        let used = |number: u32| self.uses.get(wide(number)).is_some_and(|uses| *uses > 0);
        let all = self.numbers.iter().map(|(name, number)| (name.as_str(), *number));
        all.filter(move |(_, number)| used(*number))
    }
}

/// Everything one user's items contribute, ready to be searched.
///
/// What [`Index::search`] finds depends on what is in it only, never on the order it came in.
#[derive(Clone, Debug, Default)]
pub struct Index {
    pub(super) entries: Vec<Entry>,
    pub(super) postings: Vec<Vec<Posting>>,
    pub(super) terms: Names,
    pub(super) sessions: Names,
    pub(super) senders: Names,
    pub(super) roles: Names,
    pub(super) total_length: u64,
    /// Moments that items speak of, by item.
    pub(super) moments: HashMap<u32, Vec<Span>>,
    by_seq: HashMap<i64, u32>,
    timelines: Vec<BTreeMap<(i64, i64), u32>>,
    /// Time and number in the log of every item, ascending.
    order: Vec<(i64, i64)>,
    posting_count: usize,
}

impl Index {
    /// An index of nothing.
    #[must_use]
    pub fn new() -> Self {
        Index::default()
    }

    /// An index of these items; faster than to insert them one by one out of their order in time.
    /// Of several with one number in the log, the one of the latest time stays.
    #[must_use]
    pub fn of(items: impl IntoIterator<Item = Prepared>) -> Self {
        let mut items: Vec<Prepared> = items.into_iter().collect();
        items.sort_by_key(|item| (item.at, item.seq));
        let mut index = Index::new();
        for item in &items {
            index.insert(item);
        }
        index
    }

    /// How many items there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_seq.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_seq.is_empty()
    }

    /// Whether it has the item of this number in the log.
    #[must_use]
    pub fn contains(&self, seq: i64) -> bool {
        self.by_seq.contains_key(&seq)
    }

    /// What it takes on the heap, about (bytes).
    #[must_use]
    pub fn bytes(&self) -> usize {
        let names = [&self.terms, &self.sessions, &self.senders, &self.roles];
        let lists = self.postings.capacity() * size_of::<Vec<Posting>>();
        let item = size_of::<Entry>() + 2 * (size_of::<(i64, i64)>() + ENTRY_BYTES);
        names.map(|names| names.bytes).iter().sum::<usize>()
            + lists
            + self.posting_count * size_of::<Posting>() * 3 / 2 // lists grow ahead of need
            + self.entries.len() * item
    }

    /// Takes an item in; one of the same number in the log gives way to it.
    ///
    /// Returns whether there was one. An index holds at most `u32::MAX - 1` items in its life between
    /// two cleanings; beyond that nothing is taken in.
    pub fn insert(&mut self, item: &Prepared) -> bool {
        let replaced = self.remove(item.seq);
        let Some(number) = u32::try_from(self.entries.len()).ok().filter(|n| *n != NOBODY) else {
            return replaced;
        };
        let session = self.sessions.take(&item.session);
        let (before, after) = self.join(session, (item.at, item.seq), number);
        self.entries.push(Entry {
            seq: item.seq,
            at: item.at,
            session,
            sender: self.senders.take(&item.sender),
            role: self.roles.take(&item.role),
            before,
            after,
            length: item.length,
            telling: (1.0 + f64::from(item.length)).ln(),
            traits: item.traits,
            alive: true,
        });
        self.by_seq.insert(item.seq, number);
        let place = self.order.partition_point(|other| *other < (item.at, item.seq));
        self.order.insert(place, (item.at, item.seq));
        self.total_length = self.total_length.saturating_add(u64::from(item.length));
        if !item.moments.is_empty() {
            self.moments.insert(number, item.moments.clone());
        }
        for (term, count) in &item.terms {
            let place = self.terms.take(term);
            let place = usize::try_from(place).unwrap_or(usize::MAX);
            if place == self.postings.len() {
                self.postings.push(Vec::new());
            }
            if let Some(list) = self.postings.get_mut(place) {
                list.push(Posting { item: number, count: *count });
                self.posting_count += 1;
            }
        }
        replaced
    }

    /// The same as [`Index::insert`], for an item that was changed.
    pub fn replace(&mut self, item: &Prepared) -> bool {
        self.insert(item)
    }

    /// Takes an item out; `false` when there is none of this number in the log.
    pub fn remove(&mut self, seq: i64) -> bool {
        let Some(number) = self.by_seq.remove(&seq) else { return false };
        let Some(entry) = self.entry_mut(number) else { return false };
        entry.alive = false;
        let (length, sender, role) = (u64::from(entry.length), entry.sender, entry.role);
        let (session, place, before, after) =
            (entry.session, (entry.at, entry.seq), entry.before, entry.after);
        self.total_length = self.total_length.saturating_sub(length);
        self.senders.give_back(sender);
        self.roles.give_back(role);
        self.moments.remove(&number);
        self.link(before, after);
        if let Ok(place) = self.order.binary_search(&place) {
            self.order.remove(place);
        }
        if let Some(timeline) = self.timelines.get_mut(wide(session)) {
            timeline.remove(&place);
        }
        let removed = self.entries.len() - self.by_seq.len();
        if removed > REMOVED_BEFORE_CLEANING && removed > self.by_seq.len() {
            self.clean();
        }
        true
    }

    pub(super) fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.get(wide(number))
    }

    /// How new an item is, from just above 0 (oldest) to 1 (newest).
    pub(super) fn recency(&self, entry: &Entry) -> f64 {
        let place = self.order.partition_point(|other| *other <= (entry.at, entry.seq));
        count_f64(place) / count_f64(self.order.len()).max(1.0)
    }

    /// The time of the newest item.
    pub(super) fn newest_at(&self) -> Option<i64> {
        self.order.last().map(|(at, _)| *at)
    }

    pub(super) fn number_of(&self, seq: i64) -> Option<u32> {
        self.by_seq.get(&seq).copied()
    }

    /// Whether any item has a term.
    pub(super) fn knows(&self, term: &str) -> bool {
        let alive = |item: u32| self.entry(item).is_some_and(|entry| entry.alive);
        self.having(term).iter().any(|posting| alive(posting.item))
    }

    /// The items that have a term, removed ones among them.
    pub(super) fn having(&self, term: &str) -> &[Posting] {
        let number = self.terms.known(term);
        number.and_then(|number| self.postings.get(wide(number))).map_or(&[], Vec::as_slice)
    }

    /// The words of the name of everyone who spoke, with the sender's number.
    pub(super) fn sender_words(&self) -> impl Iterator<Item = (Vec<words::Word>, u32)> {
        self.senders.used().map(|(name, number)| (words::words(name), number))
    }

    fn entry_mut(&mut self, number: u32) -> Option<&mut Entry> {
        self.entries.get_mut(wide(number))
    }

    /// Puts a number into its session's timeline and between its neighbours.
    fn join(&mut self, session: u32, place: (i64, i64), number: u32) -> (u32, u32) {
        let at = wide(session);
        if at >= self.timelines.len() {
            self.timelines.resize_with(at.saturating_add(1), BTreeMap::new);
        }
        let Some(timeline) = self.timelines.get_mut(at) else { return (NOBODY, NOBODY) };
        let before = timeline.range(..place).next_back().map_or(NOBODY, |(_, number)| *number);
        let after = timeline.range(place..).next().map_or(NOBODY, |(_, number)| *number);
        timeline.insert(place, number);
        if let Some(entry) = self.entry_mut(before) {
            entry.after = number;
        }
        if let Some(entry) = self.entry_mut(after) {
            entry.before = number;
        }
        (before, after)
    }

    fn link(&mut self, before: u32, after: u32) {
        if let Some(entry) = self.entry_mut(before) {
            entry.after = after;
        }
        if let Some(entry) = self.entry_mut(after) {
            entry.before = before;
        }
    }

    /// Gives the living new numbers and drops the rest.
    fn clean(&mut self) {
        let mut next = 0_u32;
        let numbers: Vec<u32> = self
            .entries
            .iter()
            .map(|entry| {
                let number = if entry.alive { next } else { NOBODY };
                next += u32::from(entry.alive);
                number
            })
            .collect();
        let renumbered = |number: u32| numbers.get(wide(number)).copied().unwrap_or(NOBODY);
        self.entries.retain(|entry| entry.alive);
        for entry in &mut self.entries {
            entry.before = renumbered(entry.before);
            entry.after = renumbered(entry.after);
        }
        let maps = self.timelines.iter_mut().flat_map(BTreeMap::values_mut);
        for number in maps.chain(self.by_seq.values_mut()) {
            *number = renumbered(*number);
        }
        let moments = std::mem::take(&mut self.moments).into_iter();
        self.moments = moments.map(|(number, spans)| (renumbered(number), spans)).collect();
        self.posting_count = 0;
        for list in &mut self.postings {
            list.retain_mut(|posting| {
                posting.item = renumbered(posting.item);
                posting.item != NOBODY
            });
            list.shrink_to_fit();
            self.posting_count += list.len();
        }
    }
}

/// A number of an item, term or name as a place in a list.
pub(super) fn wide(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
