//! What waits in core's outbox, counted: whether more fits, and who must wait behind whom.

use std::collections::HashMap;

use crate::domain::failure::Kind;

/// How much an outbox holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Entries, over all users.
    pub entries_max: usize,
    /// Their bodies, in bytes, over all users.
    pub bytes_max: usize,
    /// What one user may have of both, as a share from 0 to 1, so that one flood leaves room for
    /// the others.
    pub user_share: f64,
    /// Entries that memory has refused for good and that are kept all the same.
    pub refused_max: usize,
}

/// Why an outbox takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// It is full.
    Whole,
    /// This user has their share.
    Share,
    /// Too much of it was refused by memory for good; somebody must look at that first.
    Refused,
}

/// Entries and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// How many entries.
    pub entries: usize,
    /// How many bytes they have.
    pub bytes: usize,
}

impl Load {
    fn with(self, bytes: usize) -> Load {
        Load { entries: self.entries + 1, bytes: self.bytes + bytes }
    }

    fn without(self, bytes: usize) -> Load {
        Load { entries: self.entries.saturating_sub(1), bytes: self.bytes.saturating_sub(bytes) }
    }
}

/// What waits: how much of each user, and which conversations.
#[derive(Debug)]
pub struct Ledger {
    limits: Limits,
    all: Load,
    users: HashMap<String, Own>,
    conversations: HashMap<Place, usize>,
    /// What was refused for good: it waits no more, but takes room.
    refused: Load,
    refused_of: HashMap<String, usize>,
    /// Conversations that are passed over for now, and why.
    held: HashMap<Place, String>,
}

/// What waits of one user.
#[derive(Debug, Default)]
struct Own {
    load: Load,
    conversations: HashMap<Place, usize>,
}

/// Where order is kept: in a conversation, whoever of its participants speaks. Everyone has a
/// `default` one of their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Conversation(String),
    DefaultOf(String),
}

fn place(user: &str, conversation: &str) -> Place {
    if conversation == DEFAULT_CONVERSATION {
        Place::DefaultOf(user.to_owned())
    } else {
        Place::Conversation(conversation.to_owned())
    }
}

/// The conversation of inputs that name none.
pub const DEFAULT_CONVERSATION: &str = "default";

impl Ledger {
    /// An empty one.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Ledger {
            limits,
            all: Load::default(),
            users: HashMap::new(),
            conversations: HashMap::new(),
            refused: Load::default(),
            refused_of: HashMap::new(),
            held: HashMap::new(),
        }
    }

    /// All that was refused for good.
    #[must_use]
    pub fn refused(&self) -> Load {
        self.refused
    }

    /// All that waits.
    #[must_use]
    pub fn load(&self) -> Load {
        self.all
    }

    /// Whether something of this conversation waits: what comes next must wait behind it.
    #[must_use]
    pub fn holds(&self, user: &str, conversation: &str) -> bool {
        !self.conversations.is_empty()
            && self.conversations.contains_key(&place(user, conversation))
    }

    /// Whether an entry of `bytes` fits.
    ///
    /// # Errors
    /// [`Full`] when it does not.
    pub fn fits(&self, user: &str, bytes: usize) -> Result<(), Full> {
        let Load { entries, bytes: kept } = self.all.with(bytes);
        let entries = entries + self.refused.entries;
        if entries > self.limits.entries_max || kept + self.refused.bytes > self.limits.bytes_max {
            return Err(Full::Whole);
        }
        if self.refused.entries >= self.limits.refused_max {
            return Err(Full::Refused);
        }
        let own = self.users.get(user).map(|own| own.load).unwrap_or_default().with(bytes);
        let within =
            |own: usize, most: usize| float(own) <= (float(most) * self.limits.user_share).max(1.0);
        let refused = self.refused_of.get(user).copied().unwrap_or_default();
        let fits = within(own.entries, self.limits.entries_max)
            && within(own.bytes, self.limits.bytes_max)
            && within(refused, self.limits.refused_max);
        if fits { Ok(()) } else { Err(Full::Share) }
    }

    /// An entry waits from now on. What is on disk is counted even where it does not fit.
    pub fn add(&mut self, user: &str, conversation: &str, bytes: usize) {
        self.all = self.all.with(bytes);
        let place = place(user, conversation);
        let own = self.users.entry(user.to_owned()).or_default();
        own.load = own.load.with(bytes);
        *own.conversations.entry(place.clone()).or_default() += 1;
        *self.conversations.entry(place).or_default() += 1;
    }

    /// An entry was refused for good; it does not wait any more, if it did.
    pub fn refuse(&mut self, user: &str, conversation: &str, bytes: usize) {
        self.remove(user, conversation, bytes);
        self.refused = self.refused.with(bytes);
        *self.refused_of.entry(user.to_owned()).or_default() += 1;
    }

    /// A refused entry is not kept any more, or waits again.
    pub fn unrefuse(&mut self, user: &str, bytes: usize) {
        self.refused = self.refused.without(bytes);
        if let Some(count) = self.refused_of.get_mut(user) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.refused_of.remove(user);
            }
        }
    }

    /// A conversation is passed over for now.
    pub fn hold(&mut self, user: &str, conversation: &str, why: String) {
        self.held.insert(place(user, conversation), why);
    }

    /// It takes its turn again.
    pub fn unhold(&mut self, user: &str, conversation: &str) {
        self.held.remove(&place(user, conversation));
    }

    /// Why a conversation is passed over for now, if it is.
    #[must_use]
    pub fn held(&self, user: &str, conversation: &str) -> Option<&str> {
        if self.held.is_empty() {
            return None;
        }
        self.held.get(&place(user, conversation)).map(String::as_str)
    }

    /// How many conversations are passed over for now, and why one of them is.
    #[must_use]
    pub fn all_held(&self) -> (usize, Option<String>) {
        (self.held.len(), self.held.values().next().cloned())
    }

    /// An entry does not wait any more. One that was never added changes nothing.
    pub fn remove(&mut self, user: &str, conversation: &str, bytes: usize) {
        let place = place(user, conversation);
        let Some(own) = self.users.get_mut(user) else { return };
        if !take_one(&mut own.conversations, &place) {
            return;
        }
        own.load = own.load.without(bytes);
        if own.load.entries == 0 {
            self.users.remove(user);
        }
        take_one(&mut self.conversations, &place);
        self.all = self.all.without(bytes);
    }
}

/// Counts one less; whether there was one.
fn take_one(counts: &mut HashMap<Place, usize>, place: &Place) -> bool {
    let Some(count) = counts.get_mut(place) else { return false };
    *count -= 1;
    if *count == 0 {
        counts.remove(place);
    }
    true
}

/// Exact to 2^32, and from there on to a part in four thousand million, which is enough for a share.
fn float(count: usize) -> f64 {
    let (high, low) = (count >> 32, count & 0xffff_ffff);
    let part = |half: usize| f64::from(u32::try_from(half).unwrap_or(u32::MAX));
    part(high) * 4_294_967_296.0 + part(low)
}

/// Whether a failure of this kind may have its cause in what was to be stored: memory was reached,
/// and could not do it.
#[must_use]
pub fn may_be_the_entry(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::ToolFailed | Kind::Internal | Kind::BadReply | Kind::Storage | Kind::Timeout
    )
}

/// Whether a refusal of this kind would be the same at every later time: the fault is in what was
/// said, not in who should have taken it.
#[must_use]
pub fn is_for_good(kind: Kind) -> bool {
    match kind {
        Kind::Validation
        | Kind::InvalidParameter
        | Kind::MissingParameter
        | Kind::TooLarge
        | Kind::UnsupportedMedia
        | Kind::Conflict => true,
        Kind::InvalidCredentials
        | Kind::TokenExpired
        | Kind::Unauthorized
        | Kind::PermissionDenied
        | Kind::NotAcceptable
        // Also what a body is that broke off or came too late on its way.
        | Kind::InvalidRequest
        | Kind::BodyTimeout
        | Kind::WrongStore
        | Kind::NotFound
        | Kind::ToolNotFound
        | Kind::ServiceNotFound
        | Kind::MethodNotAllowed
        | Kind::Overloaded
        | Kind::Unavailable
        | Kind::CircuitOpen
        | Kind::Timeout
        | Kind::Connection
        | Kind::BadReply
        | Kind::Storage
        | Kind::ToolFailed
        | Kind::Internal => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(entries_max: usize, bytes_max: usize) -> Ledger {
        Ledger::new(Limits { entries_max, bytes_max, user_share: 0.5, refused_max: 2 })
    }

    #[test]
    fn a_conversation_waits_until_its_last_entry_has_gone() {
        let mut ledger = ledger(10, 100);
        ledger.add("u", "c", 3);
        ledger.add("u", "c", 4);
        assert!(ledger.holds("u", "c"));
        assert!(!ledger.holds("u", "d"));
        assert!(ledger.holds("v", "c"), "whoever takes part waits");
        ledger.add("u", "default", 1);
        assert!(!ledger.holds("v", "default"), "each has their own");
        ledger.remove("u", "default", 1);
        ledger.remove("u", "c", 3);
        assert!(ledger.holds("u", "c"));
        ledger.remove("u", "c", 4);
        assert!(!ledger.holds("u", "c"));
        ledger.remove("u", "c", 4);
        assert_eq!(ledger.load(), Load::default());
    }

    #[test]
    fn one_flood_leaves_room_for_others_until_all_is_full() {
        let mut ledger = ledger(4, 100);
        ledger.add("flood", "c", 1);
        ledger.add("flood", "d", 1);
        assert_eq!(ledger.fits("flood", 1), Err(Full::Share));
        assert_eq!(ledger.fits("ann", 1), Ok(()));
        assert_eq!(ledger.fits("ann", 60), Err(Full::Share), "bytes count too");
        ledger.add("ann", "c", 1);
        ledger.add("ben", "c", 1);
        assert_eq!(ledger.fits("eve", 1), Err(Full::Whole));
    }

    #[test]
    fn what_was_refused_takes_room_and_stops_everything_before_it_grows_without_bound() {
        let mut ledger = ledger(10, 100);
        ledger.add("u", "c", 60);
        ledger.refuse("u", "c", 60);
        assert_eq!((ledger.load(), ledger.refused().bytes), (Load::default(), 60));
        assert!(!ledger.holds("u", "c"), "it waits no more");
        assert_eq!(ledger.fits("v", 41), Err(Full::Whole));
        assert_eq!(ledger.fits("v", 5), Ok(()));
        ledger.refuse("v", "c", 1);
        assert_eq!(ledger.fits("w", 1), Err(Full::Refused));
        ledger.unrefuse("u", 60);
        assert_eq!(ledger.fits("w", 1), Ok(()));
    }

    #[test]
    fn a_conversation_is_held_for_whoever_takes_part_and_the_default_one_for_its_owner() {
        let mut ledger = ledger(10, 100);
        ledger.hold("u", "c", "why".to_owned());
        ledger.hold("u", "default", "why".to_owned());
        assert_eq!(ledger.held("v", "c"), Some("why"));
        assert_eq!((ledger.held("u", "default"), ledger.held("v", "default")), (Some("why"), None));
        assert_eq!(ledger.all_held().0, 2);
        ledger.unhold("v", "c");
        assert_eq!(ledger.held("u", "c"), None);
    }

    #[test]
    fn an_outbox_of_one_place_takes_one_entry() {
        let mut ledger = ledger(1, 100);
        assert_eq!(ledger.fits("u", 1), Ok(()));
        ledger.add("u", "c", 1);
        assert_eq!(ledger.fits("u", 1), Err(Full::Whole));
    }

    #[test]
    fn only_the_callers_own_mistakes_are_for_good() {
        let lasting: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| is_for_good(*kind)).collect();
        assert_eq!(lasting.len(), 6);
        assert!(!is_for_good(Kind::Timeout) && is_for_good(Kind::Validation));
    }
}
