//! What one stored item contributes to an index, and its compact form on disk.

use std::collections::BTreeMap;

use super::{
    codec::{Reader, Writer},
    temporal::{Span, day_of, spans},
    traits::Traits,
    words::words,
};

/// The version of the rules that make a [`Prepared`]: another one on disk means to prepare anew.
pub const RULES_VERSION: u8 = 1;

/// Of the days one item speaks of, this many are kept.
pub const MOMENTS_MAX: usize = 8;

/// An item as it is to be found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Source<'a> {
    /// Place in the store's log.
    pub seq: i64,
    /// The conversation; items without one share the empty name.
    pub session: &'a str,
    /// Who spoke: a display name, or an id when there is none.
    pub sender: &'a str,
    /// `user`, `assistant`, `system` or `tool`.
    pub role: &'a str,
    /// When, in milliseconds since the Unix epoch.
    pub at: i64,
    /// What was said.
    pub content: &'a str,
    /// Text of an attached picture.
    pub caption: Option<&'a str>,
}

/// What one item contributes to the index of its user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Place in the store's log.
    pub seq: i64,
    /// The conversation.
    pub session: String,
    /// Who spoke.
    pub sender: String,
    /// The role.
    pub role: String,
    /// When, in milliseconds since the Unix epoch.
    pub at: i64,
    /// Telling words in all (count).
    pub length: u32,
    /// What it is like beside its words.
    pub traits: Traits,
    /// Days other than its own that it speaks of, "yesterday" and the like taken from `at`, at most [`MOMENTS_MAX`].
    pub moments: Vec<Span>,
    /// Each term and how often it is there, in the order of the terms.
    pub terms: Vec<(String, u32)>,
}

impl Prepared {
    /// Reads an item.
    #[must_use]
    pub fn of(source: &Source<'_>) -> Self {
        let caption = source.caption.unwrap_or_default();
        let said = words(source.content);
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        let traits = Traits::of(source.content, caption, &said);
        let mut length: u32 = 0;
        for word in said.into_iter().chain(words(caption)).filter(|word| !word.stop) {
            let count = counts.entry(word.stem).or_default();
            *count = count.saturating_add(1);
            length = length.saturating_add(1);
        }
        let own = day_of(source.at);
        let mut moments = spans(source.content, source.at);
        // "today" says no more than the time itself.
        moments.retain(|span| span.from != own || span.days() > 1);
        moments.truncate(MOMENTS_MAX);
        Prepared {
            seq: source.seq,
            moments,
            session: source.session.to_owned(),
            sender: source.sender.to_owned(),
            role: source.role.to_owned(),
            at: source.at,
            length,
            traits,
            terms: counts.into_iter().collect(),
        }
    }

    /// Its compact form: the version of the rules, then everything. Terms share their beginnings.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.byte(RULES_VERSION);
        out.signed(self.seq);
        out.signed(self.at);
        out.text(&self.session);
        out.text(&self.sender);
        out.text(&self.role);
        out.number(u64::from(self.length));
        let traits = &self.traits;
        let flags = [traits.number, traits.time, traits.quoted, traits.picture];
        out.byte(flags.iter().rev().fold(0, |bits, flag| (bits << 1) | u8::from(*flag)));
        out.byte(traits.names);
        out.byte(traits.asking);
        out.number(u64::try_from(self.moments.len()).unwrap_or(u64::MAX));
        for span in &self.moments {
            out.signed(i64::from(span.from));
            out.signed(i64::from(span.to));
        }
        out.number(u64::try_from(self.terms.len()).unwrap_or(u64::MAX));
        let mut before = "";
        for (term, count) in &self.terms {
            out.text_after(before, term);
            out.number(u64::from(*count));
            before = term;
        }
        out.finish()
    }

    /// Reads the compact form; `None` when it is of other rules, cut off, or no such thing at all.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut input = Reader::new(bytes);
        if input.byte()? != RULES_VERSION {
            return None;
        }
        let (seq, at) = (input.signed()?, input.signed()?);
        let (session, sender, role) = (input.text()?, input.text()?, input.text()?);
        let length = u32::try_from(input.number()?).ok()?;
        let flags = input.byte()?;
        let traits = Traits {
            number: flags & 1 != 0,
            time: flags & 2 != 0,
            quoted: flags & 4 != 0,
            picture: flags & 8 != 0,
            names: input.byte()?,
            asking: input.byte()?,
        };
        let mut moments = Vec::new();
        for _ in 0..input.number()? {
            let (from, to) = (input.signed()?, input.signed()?);
            moments.push(Span { from: i32::try_from(from).ok()?, to: i32::try_from(to).ok()? });
        }
        let expected = input.number()?;
        let mut terms: Vec<(String, u32)> = Vec::new();
        for _ in 0..expected {
            let before = terms.last().map_or("", |(term, _)| term);
            let term = input.text_after(before)?;
            terms.push((term, u32::try_from(input.number()?).ok()?));
        }
        let whole = input.is_empty() && flags < 16;
        whole.then_some(Prepared { seq, session, sender, role, at, length, traits, moments, terms })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prepared(content: &str) -> Prepared {
        Prepared::of(&Source {
            seq: -7,
            session: "trip",
            sender: "Ada",
            role: "user",
            at: 1_700_000_000_123,
            content,
            caption: Some("a red kite"),
        })
    }

    #[test]
    fn an_item_is_counted_with_its_caption() {
        let prepared = prepared("Kites, kites! We flew two in May.");
        let terms: Vec<(&str, u32)> =
            prepared.terms.iter().map(|(term, count)| (term.as_str(), *count)).collect();
        assert_eq!(terms, [("fli", 1), ("kite", 3), ("red", 1), ("two", 1)]);
        assert_eq!(prepared.length, 6);
        assert!(prepared.traits.number && prepared.traits.time && prepared.traits.picture);
    }

    #[test]
    fn the_compact_form_is_small_and_of_one_version() {
        let prepared = prepared("Kites over the harbour, and a harbourmaster who minds them");
        let bytes = prepared.to_bytes();
        assert!(bytes.len() < 80, "{} bytes", bytes.len());
        let mut other = bytes.clone();
        other[0] = RULES_VERSION.wrapping_add(1);
        assert_eq!(Prepared::from_bytes(&other), None);
        for end in 0..bytes.len() {
            assert_eq!(Prepared::from_bytes(&bytes[..end]), None, "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(content in ".{0,200}", seq: i64, at: i64) {
            let source = Source { seq, at, content: &content, sender: "é", ..Source::default() };
            let prepared = Prepared::of(&source);
            prop_assert_eq!(Prepared::from_bytes(&prepared.to_bytes()), Some(prepared));
        }

        #[test]
        fn garbage_is_refused_or_read_but_never_a_panic(mut bytes: Vec<u8>) {
            if let Some(first) = bytes.first_mut() {
                *first = RULES_VERSION;
            }
            if let Some(prepared) = Prepared::from_bytes(&bytes) {
                prop_assert_eq!(Prepared::from_bytes(&prepared.to_bytes()), Some(prepared));
            }
        }
    }
}
