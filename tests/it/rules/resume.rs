//! Resuming never skips and never repeats: whatever is stored, lost, cut or set back in whatever
//! order, a reader that resumes after the last event it saw has seen each once, in order.

use cortex::domain::{
    published::{BEHIND_MAX, Published, Step},
    sse::{self, Event, Parser},
};
use proptest::prelude::*;

/// One thing that happens in a process that shows a log which several write.
#[derive(Clone, Debug)]
enum Happens {
    /// This process commits so many items of its own, perhaps leaving numbers out.
    Own { items: u8, gap: u8 },
    /// Another process does.
    Theirs { items: u8, gap: u8 },
    /// Another one stores more than is published at once.
    Flood,
    /// This process looks at the log.
    Look,
    /// The reader's connection ends.
    Cut,
    /// The reader takes what has come.
    Read,
}

fn step() -> impl Strategy<Value = Happens> {
    let store = || (0u8..5, 0u8..3);
    prop_oneof![
        4 => store().prop_map(|(items, gap)| Happens::Own { items, gap }),
        4 => store().prop_map(|(items, gap)| Happens::Theirs { items, gap }),
        1 => Just(Happens::Flood),
        3 => Just(Happens::Look),
        1 => Just(Happens::Cut),
        4 => Just(Happens::Read),
    ]
}

/// The log, one process that publishes it, and one reader of that process.
struct World {
    log: Vec<i64>,
    head: i64,
    published: Published,
    /// What the reader's connection holds, in bytes; `None` while it has none.
    wire: Option<Vec<u8>>,
    /// Up to where its replay went: what the bus brings up to there is left out.
    upto: i64,
    parser: Parser,
    seen: Vec<i64>,
}

impl World {
    fn new() -> Self {
        World {
            log: Vec::new(),
            head: 0,
            published: Published::upto(0),
            wire: None,
            upto: 0,
            parser: Parser::new(),
            seen: Vec::new(),
        }
    }

    fn store(&mut self, items: u8, gap: u8) -> Vec<i64> {
        let mut stored = Vec::new();
        for _ in 0..items {
            self.head += 1 + i64::from(gap);
            self.log.push(self.head);
            stored.push(self.head);
        }
        stored
    }

    fn publish(&mut self, seqs: &[i64]) {
        let upto = self.upto;
        let Some(wire) = &mut self.wire else { return };
        for seq in seqs.iter().filter(|seq| **seq > upto) {
            wire.extend_from_slice(sse::render(Some(*seq), &format!("{{\"n\":{seq}}}")).as_bytes());
        }
    }

    /// As the announcer does with what its process found at `head`.
    fn fill(&mut self, head: i64) {
        match self.published.step(head) {
            Step::Direct => {}
            Step::Fill { after, upto } => {
                let between: Vec<i64> =
                    self.log.iter().copied().filter(|seq| *seq > after && *seq <= upto).collect();
                self.publish(&between);
            }
            Step::Reset => self.wire = None,
        }
        self.published = Published::upto(head);
    }

    /// Connects if it is not, then takes what has come, except the last `left` bytes.
    fn read(&mut self, left: usize) -> Result<(), TestCaseError> {
        if self.wire.is_none() {
            // Subscribed first, then replayed from the log.
            let last = self.seen.last().copied().unwrap_or(0);
            self.parser = Parser::new();
            self.upto = last;
            self.wire = Some(Vec::new());
            let missed: Vec<i64> = self.log.iter().copied().filter(|seq| *seq > last).collect();
            self.publish(&missed);
            self.upto = missed.last().copied().unwrap_or(last);
        }
        let wire = self.wire.as_mut().expect("connected");
        let rest = wire.split_off(wire.len().saturating_sub(left));
        let bytes = std::mem::replace(wire, rest);
        for Event { id, .. } in self.parser.feed(&bytes).expect("good events") {
            let seq: i64 = id.expect("an id").parse().expect("a number");
            let last = self.seen.last().copied();
            prop_assert!(last.is_none_or(|last| last < seq), "{seq} after {last:?}");
            self.seen.push(seq);
        }
        Ok(())
    }

    fn take(&mut self, step: &Happens, left: usize) -> Result<(), TestCaseError> {
        match step {
            Happens::Own { items, gap } => {
                let before = self.head;
                self.fill(before);
                let own = self.store(*items, *gap);
                self.publish(&own);
                self.published = Published::upto(self.head);
            }
            Happens::Theirs { items, gap } => drop(self.store(*items, *gap)),
            Happens::Flood => {
                self.head += BEHIND_MAX + 1;
                self.log.push(self.head);
            }
            Happens::Look => self.fill(self.head),
            Happens::Cut => self.wire = None,
            Happens::Read => self.read(left)?,
        }
        Ok(())
    }
}

fn events(parser: &mut Parser, pieces: &[&[u8]]) -> Result<Vec<Event>, sse::Broken> {
    let mut all = Vec::new();
    for piece in pieces {
        all.extend(parser.feed(piece)?);
    }
    Ok(all)
}

/// Bytes that look like events, more or less.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"data: ".to_vec()),
        Just(b"data".to_vec()),
        Just(b"id: 7".to_vec()),
        Just(b"id:\0".to_vec()),
        Just(b"event:x".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b": c".to_vec()),
        Just("grüße\u{feff}".as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_reader_that_resumes_sees_each_event_once_in_order(
        steps in prop::collection::vec((step(), 0usize..60), 0..200),
    ) {
        let mut world = World::new();
        for (step, left) in &steps {
            world.take(step, *left)?;
        }
        world.take(&Happens::Look, 0)?;
        world.read(0)?;
        prop_assert_eq!(world.seen, world.log);
    }

    #[test]
    fn any_interleaving_of_writers_is_published_by_each_without_gap_or_repeat(
        turns in prop::collection::vec((0usize..4, 0i64..1500, any::<bool>()), 0..100),
    ) {
        const WRITERS: usize = 4;
        let mut head = 0;
        let mut published = [Published::upto(0); WRITERS];
        // Up to where each one's readers have everything, by publication or because they resumed.
        let mut have = [0; WRITERS];
        let all: Vec<_> =
            turns.into_iter().chain((0..WRITERS).map(|writer| (writer, 0, true))).collect();
        for (writer, items, looks) in all {
            match published[writer].step(head) {
                Step::Direct => prop_assert_eq!(have[writer], head),
                Step::Fill { after, upto } => {
                    prop_assert_eq!(after, have[writer], "no gap, no repeat");
                    prop_assert_eq!(upto, head);
                    prop_assert!(upto - after <= BEHIND_MAX);
                }
                Step::Reset => prop_assert!(head - have[writer] > BEHIND_MAX),
            }
            have[writer] = head;
            if !looks {
                head += items;
                have[writer] = head;
            }
            published[writer] = Published::upto(head);
        }
        prop_assert_eq!(have, [head; WRITERS]);
    }

    #[test]
    fn a_log_that_was_set_back_ends_the_streams(upto in 0..i64::MAX, back in 1..i64::MAX) {
        let set_back = upto.saturating_sub(back);
        prop_assert_eq!(Published::upto(upto).step(set_back), Step::Reset);
    }

    #[test]
    fn however_a_stream_is_split_its_events_are_the_same(
        bytes in text(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let whole = events(&mut Parser::new(), &[&bytes]);
        prop_assert_eq!(events(&mut Parser::new(), &pieces), whole);
    }

    #[test]
    fn whatever_is_rendered_is_read_back(
        id in prop::option::of(any::<i64>()), data in "[^\r]{0,60}",
    ) {
        let text = sse::render(id, &data);
        let event =
            Event { kind: String::new(), id: id.map(|id| id.to_string()), data: Some(data) };
        for end in ["\n", "\r\n", "\r"] {
            let read = Parser::new().feed(text.replace('\n', end).as_bytes()).expect("good");
            prop_assert_eq!(read, std::slice::from_ref(&event), "lines end in {:?}", end);
        }
    }

    #[test]
    fn no_bytes_make_the_reader_of_events_fall(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        // Either it gives events or says that the stream is broken.
        for event in Parser::new().feed(&bytes).unwrap_or_default() {
            prop_assert!(event.data.is_some() || event.id.is_some());
        }
    }
}
