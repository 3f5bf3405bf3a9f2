//! The index in memory against the one on disk, whatever comes in which order.

use clap::Parser;
use diesel::{connection::SimpleConnection as _, prelude::*};
use proptest::{prelude::*, test_runner::TestCaseError};
use serde_json::{Value, json};

use super::*;
use crate::{
    backplane::{clock, database, metrics::Metrics},
    contract::log::{Entry, Numbered},
    services::cognition::index::store::Change,
};

#[derive(Parser)]
struct Only {
    #[command(flatten)]
    settings: Settings,
}

fn open(folder: &tempfile::TempDir, bytes: &str) -> Index {
    let path = folder.path().display().to_string();
    let arguments = ["test", "--data-dir", &path, "--index-memory-max", bytes];
    let Only { settings } = Only::parse_from(arguments);
    Index::open(&settings, &Metrics::new("test")).unwrap()
}

const WORDS: [&str; 5] = ["kite", "boat", "harbour", "lunch", "the red kite of May 5 2026"];

fn item(seq: i64, user: u8, number: usize) -> Value {
    json!({
        "seq": seq, "id": seq.to_string(), "user_id": user.to_string(), "sender_id": "ann",
        "conversation_id": (seq % 3).to_string(), "content": WORDS[number % WORDS.len()],
        "timestamp": format!("2026-01-01T00:{:02}:00Z", (seq * 7) % 60),
    })
}

/// What the log says next, and what a reader does meanwhile.
#[derive(Clone, Debug)]
enum Step {
    Store(u8, usize),
    Change(u8, usize),
    Remove(u8, usize),
    Forget(u8),
    /// A fact is remembered; in the place of another where there is one.
    Remember(u8, usize),
    ForgetFact(u8, usize),
    /// What came since is written.
    Write,
    /// A user asks: their index comes into memory.
    Ask(u8),
    /// A user asks while the index is behind: what came since is read from memory.
    Tail(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (user, number) = (0..3_u8, 0..20_usize);
    let step = prop_oneof![
        6 => (user.clone(), number.clone()).prop_map(|(user, n)| Step::Store(user, n)),
        3 => (user.clone(), number.clone()).prop_map(|(user, n)| Step::Change(user, n)),
        2 => (user.clone(), number.clone()).prop_map(|(user, n)| Step::Remove(user, n)),
        3 => (user.clone(), number.clone()).prop_map(|(user, n)| Step::Remember(user, n)),
        1 => (user.clone(), number.clone()).prop_map(|(user, n)| Step::ForgetFact(user, n)),
        1 => user.clone().prop_map(Step::Forget),
        4 => Just(Step::Write),
        3 => user.clone().prop_map(Step::Ask),
        3 => user.prop_map(Step::Tail),
    ];
    proptest::collection::vec(step, 1..60)
}

/// The log as memory would tell it: what is in each item now.
#[derive(Default)]
struct Log {
    entries: Vec<Numbered>,
    items: BTreeMap<i64, Item>,
    facts: BTreeMap<i64, Fact>,
    written: usize,
}

impl Log {
    fn add(&mut self, step: &Step) {
        let seq = i64::try_from(self.entries.len()).unwrap() + 1;
        let of = |items: &BTreeMap<i64, Item>, user: u8, n: usize| {
            let own: Vec<i64> = items
                .values()
                .filter(|item| item.user_id == user.to_string())
                .map(|item| item.seq)
                .collect();
            own.get(n % own.len().max(1)).copied()
        };
        let read = |value: Value| -> Item { serde_json::from_value(value).unwrap() };
        let entry = match step {
            Step::Store(user, n) => {
                let item = read(item(seq, *user, *n));
                self.items.insert(seq, item.clone());
                Entry::Stored(Box::new(item))
            }
            Step::Change(user, n) => {
                let Some(at) = of(&self.items, *user, *n) else { return };
                let item = read(item(at, *user, n + 1));
                self.items.insert(at, item.clone());
                Entry::Changed(Box::new(item))
            }
            Step::Remove(user, n) => {
                let Some(at) = of(&self.items, *user, *n) else { return };
                self.items.remove(&at);
                let (user_id, item_id) = (user.to_string(), at.to_string());
                Entry::Removed { user_id, item_seq: at, item_id }
            }
            Step::Remember(user, n) => {
                self.remember(*user, n % 2);
                return;
            }
            Step::ForgetFact(user, n) => {
                let own = self.facts.values().filter(|fact| fact.user_id == user.to_string());
                let own: Vec<i64> = own.map(|fact| fact.seq).collect();
                let Some(at) = own.get(n % own.len().max(1)).copied() else { return };
                self.facts.remove(&at);
                let (user_id, item_id) = (user.to_string(), at.to_string());
                Entry::Removed { user_id, item_seq: at, item_id }
            }
            Step::Forget(user) => {
                self.facts.retain(|_, fact| fact.user_id != user.to_string());
                self.items.retain(|_, item| item.user_id != user.to_string());
                Entry::Forgotten { user_id: user.to_string() }
            }
            Step::Write | Step::Ask(_) | Step::Tail(_) => return,
        };
        self.entries.push(Numbered { seq, entry });
    }

    /// A fact in the place of the one of its key, which the log says first.
    fn remember(&mut self, user: u8, key: usize) {
        let (user_id, key) = (user.to_string(), key.to_string());
        let at = clock::rfc3339(i64::try_from(self.entries.len()).unwrap());
        let old = self.facts.values_mut().find(|fact| {
            fact.user_id == user_id && fact.key == Some(key.clone()) && fact.superseded_by.is_none()
        });
        if let Some(old) = old {
            old.valid_to = Some(at.clone());
            old.superseded_by = Some("the next".to_owned());
            old.superseded_at = Some(at.clone());
            let (seq, entry) = (next(&self.entries), Entry::Fact(Box::new(old.clone())));
            self.entries.push(Numbered { seq, entry });
        }
        let seq = next(&self.entries);
        let fact: Fact = serde_json::from_value(json!({
            "seq": seq, "id": seq.to_string(), "user_id": user_id, "subject": "umbrella",
            "key": key, "text": "it is a kite", "recorded_at": at, "valid_from": at,
        }))
        .unwrap();
        self.facts.insert(seq, fact.clone());
        self.entries.push(Numbered { seq, entry: Entry::Fact(Box::new(fact)) });
    }

    async fn write(&mut self, index: &Index) {
        let new = self.entries.get(self.written..).unwrap();
        let upto = i64::try_from(self.entries.len()).unwrap();
        let batch = new
            .iter()
            .map(|entry| (entry.seq, serde_json::to_string(&entry.entry).unwrap()))
            .collect();
        index.apply_written(Arc::new(batch), upto).await.unwrap();
        self.written = self.entries.len();
    }

    /// What is not written, as memory would tell it: items as they are now.
    fn tail(&self, user: u8) -> Vec<(Change, Option<Item>)> {
        let new = self.entries.get(self.written..).unwrap().iter().cloned();
        let now = new.filter(|entry| entry.entry.user() == Some(&user.to_string())).filter_map(
            |Numbered { seq, entry }| {
                let entry = match entry {
                    Entry::Stored(item) => {
                        Entry::Stored(Box::new(self.items.get(&item.seq)?.clone()))
                    }
                    Entry::Changed(item) => {
                        Entry::Changed(Box::new(self.items.get(&item.seq)?.clone()))
                    }
                    Entry::Fact(fact) => Entry::Fact(Box::new(self.facts.get(&fact.seq)?.clone())),
                    other @ (Entry::Removed { .. }
                    | Entry::Forgotten { .. }
                    | Entry::Began { .. }
                    | Entry::Within { .. }) => other,
                };
                Some(Numbered { seq, entry })
            },
        );
        now.filter_map(fresh::change).collect()
    }
}

fn next(entries: &[Numbered]) -> i64 {
    i64::try_from(entries.len()).unwrap() + 1
}

async fn ask(index: &Index, user: u8, text: &str) -> Vec<(i64, String)> {
    let user = user.to_string();
    let facts_at = Some(clock::now_micros());
    let asked = Asked { text: text.to_owned(), limit: 50, facts_at, ..Asked::default() };
    let Answer { found, facts } = index.search(&user, asked).await.unwrap();
    let seqs: Vec<i64> = found.iter().map(|found| found.seq).collect();
    let items = index.items(&user, seqs).await.unwrap();
    found
        .into_iter()
        .map(|found| {
            let (owner, text) = match facts.get(&found.seq) {
                Some(fact) => (&fact.user_id, &fact.text),
                None => (&items[&found.seq].user_id, &items[&found.seq].content),
            };
            assert_eq!(*owner, user, "another's item");
            (found.seq, format!("{text} {}", found.score))
        })
        .collect()
}

async fn newest(index: &Index, user: u8) -> Vec<i64> {
    let items = index.newest(&user.to_string(), Conditions::default(), 100).await.unwrap();
    items.iter().map(|item| item.seq).collect()
}

/// What a summary reads, and how much there is.
async fn summed_up(index: &Index, user: u8, items: usize) -> (Vec<i64>, usize, usize) {
    let until = tokio::time::Instant::now() + Duration::from_secs(600);
    let conditions = Conditions::default();
    let history =
        index.history(&user.to_string(), conditions, Reach { items, until }).await.unwrap();
    (history.chosen, history.survey.items(), history.all)
}

/// The numbers a user has, by the truth.
fn truth(log: &Log, user: u8) -> Vec<i64> {
    let own = log.items.values().filter(|item| item.user_id == user.to_string());
    own.map(|item| item.seq).collect()
}

/// The facts of a user that a question finds.
async fn facts(index: &Index, user: u8) -> Vec<i64> {
    let mut seqs: Vec<i64> =
        ask(index, user, "umbrella").await.into_iter().map(|(seq, _)| seq).collect();
    seqs.sort_unstable();
    seqs
}

/// The facts of a user that hold, by the truth.
fn true_facts(log: &Log, user: u8) -> Vec<i64> {
    let own = log.facts.values().filter(|fact| fact.user_id == user.to_string());
    own.filter(|fact| fact.superseded_by.is_none()).map(|fact| fact.seq).collect()
}

async fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    // So little that all but the last are dropped again and again.
    let index = open(&folder, "2000");
    let mut log = Log::default();
    for step in &steps {
        log.add(step);
        match step {
            Step::Write => log.write(&index).await,
            Step::Ask(user) => drop(ask(&index, *user, "kite boat").await),
            Step::Tail(user) => {
                let loaded = index.user(&user.to_string()).await.unwrap();
                loaded.write().run_ahead(log.tail(*user));
                let mut seen = newest(&index, *user).await;
                seen.sort_unstable();
                let truth = truth(&log, *user);
                prop_assert_eq!(&seen, &truth, "what is not written is seen");
                let count = truth.len();
                prop_assert_eq!(summed_up(&index, *user, 100).await, (truth, count, count));
                prop_assert_eq!(facts(&index, *user).await, true_facts(&log, *user));
            }
            Step::Store(..)
            | Step::Change(..)
            | Step::Remove(..)
            | Step::Remember(..)
            | Step::ForgetFact(..)
            | Step::Forget(_) => {}
        }
    }
    log.write(&index).await;
    for user in 0..3 {
        let mut seen = newest(&index, user).await;
        seen.sort_unstable();
        prop_assert_eq!(seen, truth(&log, user));
        prop_assert_eq!(facts(&index, user).await, true_facts(&log, user));
    }
    let other = tempfile::tempdir().unwrap();
    let fresh = open(&other, "1000000");
    log.written = 0;
    log.write(&fresh).await;
    for user in 0..3 {
        for text in ["kite", "boat lunch", "harbour in May", "what did ann say of the red kite?"] {
            let known = ask(&index, user, text).await;
            prop_assert_eq!(&known, &ask(&fresh, user, text).await, "{} {}", user, text);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn an_index_kept_up_in_memory_is_one_that_is_read_anew_and_nobody_elses(steps in steps()) {
        actix_rt::System::new().block_on(run(steps))?;
    }
}

#[actix::test]
async fn a_whole_history_is_read_the_newest_first_and_what_is_left_out_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let index = open(&folder, "1000000");
    let mut log = Log::default();
    for number in 0..1_500 {
        log.add(&Step::Store(0, number));
    }
    log.write(&index).await;
    let (chosen, read, all) = summed_up(&index, 0, 10_000).await;
    assert_eq!((read, all), (1_500, 1_500), "far beyond the newest 500");
    assert_eq!(chosen.len(), crate::domain::understanding::CHOSEN_MAX);
    assert_eq!(summed_up(&index, 0, 1_500).await.1, 1_500);
    let (chosen, read, all) = summed_up(&index, 0, 3).await;
    assert_eq!((read, all), (3, 1_500));
    let newest = newest(&index, 0).await;
    assert!(chosen.iter().all(|seq| newest.get(..3).unwrap().contains(seq)));
    let until = tokio::time::Instant::now();
    let late = Reach { items: 10_000, until };
    let late = index.history("0", Conditions::default(), late).await.unwrap();
    assert_eq!((late.survey.items(), late.all), (64, 1_500), "no longer than it may");
}

#[actix::test]
async fn what_other_rules_prepared_is_prepared_anew_and_found_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let index = open(&folder, "1000000");
    let mut log = Log::default();
    for number in 0..30 {
        log.add(&Step::Store(0, number));
    }
    log.write(&index).await;
    let before = ask(&index, 0, "kite").await;
    assert!(!before.is_empty());
    let path = folder.path().join(DATABASE_FILE);
    let old = "UPDATE prepared_items SET rules = 0, prepared = x'00ff'";
    database::connect(&path).unwrap().batch_execute(old).unwrap();
    drop(index);
    let index = open(&folder, "1000000");
    assert_eq!(ask(&index, 0, "kite").await, before, "prepared when it is asked for");
    assert_eq!(index.renew(20).await, Ok(20));
    assert_eq!((index.renew(20).await, index.renew(20).await), (Ok(10), Ok(0)));
    drop(index);
    let index = open(&folder, "1000000");
    assert_eq!(ask(&index, 0, "kite").await, before);
    let count: i64 = schema::prepared_items::table
        .filter(schema::prepared_items::rules.eq(0))
        .count()
        .get_result(&mut database::connect(&path).unwrap())
        .unwrap();
    assert_eq!(count, 0);
}
