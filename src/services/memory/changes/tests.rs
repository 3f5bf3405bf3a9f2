//! The log as its followers read it, whatever is done to the store in between.

use std::collections::BTreeMap;

use diesel::connection::SimpleConnection as _;
use proptest::{prelude::*, test_runner::TestCaseError};
use serde_json::json;

use super::*;
use crate::{
    backplane::database::{self, Store},
    contract::fact::Fact,
    services::memory::{
        MIGRATIONS, audit, facts,
        intake::{self, Changes as Wish},
    },
};

/// What is done to the store, or a page that the follower reads meanwhile.
#[derive(Clone, Debug)]
enum Step {
    Store(u8, u8),
    Update(u8, u8),
    Remove(u8, u8),
    Forget(u8),
    Remember(u8, u8),
    ForgetFact(u8, u8),
    Begin,
    Follow(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (user, id) = (0..3_u8, 0..4_u8);
    let step = prop_oneof![
        4 => (user.clone(), id.clone()).prop_map(|(user, id)| Step::Store(user, id)),
        3 => (user.clone(), id.clone()).prop_map(|(user, id)| Step::Update(user, id)),
        2 => (user.clone(), id.clone()).prop_map(|(user, id)| Step::Remove(user, id)),
        3 => (user.clone(), id.clone()).prop_map(|(user, id)| Step::Remember(user, id)),
        1 => (user.clone(), id.clone()).prop_map(|(user, id)| Step::ForgetFact(user, id)),
        1 => user.prop_map(Step::Forget),
        1 => Just(Step::Begin),
        4 => (1..4_i64).prop_map(Step::Follow),
    ];
    proptest::collection::vec(step, 1..40)
}

/// Whoever applies the entries in their order.
#[derive(Default)]
struct Follower {
    at: i64,
    epoch: String,
    items: BTreeMap<i64, Item>,
    facts: BTreeMap<i64, Fact>,
}

impl Follower {
    /// Reads one page; whether there are more.
    fn read(&mut self, store: &mut SqliteConnection, limit: i64) -> bool {
        let page = page(store, None, self.at, limit).unwrap();
        assert!(page.entries.is_sorted_by(|a, b| a.seq < b.seq));
        for Numbered { seq, entry } in page.entries {
            assert!(seq > self.at && seq <= page.upto);
            match entry {
                Entry::Stored(item) | Entry::Changed(item) => {
                    self.items.insert(item.seq, *item);
                }
                Entry::Fact(fact) => drop(self.facts.insert(fact.seq, *fact)),
                Entry::Removed { item_seq, .. } => {
                    let (item, fact) = (self.items.remove(&item_seq), self.facts.remove(&item_seq));
                    assert!(item.is_none() || fact.is_none(), "one row of numbers");
                }
                Entry::Forgotten { user_id } => {
                    self.items.retain(|at, item| *at > seq || item.user_id != user_id);
                    self.facts.retain(|at, fact| *at > seq || fact.user_id != user_id);
                }
                Entry::Began { epoch } => self.epoch = epoch,
                Entry::Within { .. } => panic!("only streams begin with it"),
            }
        }
        self.at = page.upto;
        page.more
    }
}

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let mut store = database::connect(&folder.path().join("x.db")).unwrap();
    store.batch_execute("PRAGMA synchronous = OFF").unwrap();
    database::migrate(&mut store, MIGRATIONS, Store::Memory).unwrap();
    let mut early = Follower { epoch: epoch_at(&mut store, 0).unwrap(), ..Follower::default() };
    for (number, step) in steps.into_iter().enumerate() {
        let name = |number: u8| format!("{number}");
        let text = format!("{number}");
        match step {
            Step::Store(user, id) => {
                let input = json!({"id": name(id), "content": text});
                let input = input.as_object().unwrap().clone();
                let item = intake::item(&name(user), input, 0).unwrap();
                store::insert(&mut store, &item.into()).unwrap();
            }
            Step::Update(user, id) => {
                let mut wish = Wish { content: Some(text), ..Wish::default() };
                // As every update has it: the audit knows by it what says something else now.
                wish.metadata.insert("updated_at".to_owned(), "now".into());
                store::update(&mut store, &name(user), &name(id), &wish).unwrap();
            }
            Step::Remove(user, id) => {
                store::remove(&mut store, &name(user), Some(&name(id))).unwrap();
            }
            Step::Forget(user) => {
                store::remove(&mut store, &name(user), None).unwrap();
            }
            Step::Remember(user, id) => {
                // Few keys, so that one takes the place of another.
                let key = name(id % 2);
                facts::remember(&mut store, &facts::a_fact(&name(user), &key, &text)).unwrap();
            }
            Step::ForgetFact(user, id) => {
                facts::remove(&mut store, &name(user), &format!("f{id}")).unwrap();
            }
            Step::Begin => drop(began(&mut store).unwrap()),
            Step::Follow(limit) => drop(early.read(&mut store, limit)),
        }
    }
    while early.read(&mut store, 2) {}
    let now = store::page(&mut store, &Filter::default(), Page::After(0, 1000)).unwrap();
    let now: BTreeMap<i64, Item> = now.into_iter().map(|item| (item.seq, item)).collect();
    prop_assert_eq!(&early.items, &now);
    let facts: BTreeMap<i64, Fact> = (0..3)
        .flat_map(|user| facts::all_of(&mut store, &user.to_string()))
        .map(|fact| (fact.seq, fact))
        .collect();
    prop_assert_eq!(&early.facts, &facts);
    prop_assert_eq!(early.at, store::head(&mut store).unwrap());
    prop_assert_eq!(early.epoch, epoch_at(&mut store, early.at).unwrap());
    let mut late = Follower::default();
    while late.read(&mut store, 3) {}
    prop_assert_eq!(&late.items, &now);
    prop_assert_eq!(&late.facts, &facts);
    // Items are updated here without the mark that an update leaves.
    let findings = audit::findings(&mut store).unwrap();
    prop_assert!(findings.iter().all(|found| found.contains("text is not")), "{findings:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]
    #[test]
    fn whoever_applies_all_entries_from_anywhere_ends_where_the_store_is(steps in steps()) {
        run(steps)?;
    }
}

#[test]
fn a_copy_that_goes_on_by_itself_is_another_log_from_there_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = database::connect(&folder.path().join("x.db")).unwrap();
    database::migrate(&mut store, MIGRATIONS, Store::Memory).unwrap();
    let item = |id: &str| {
        let input = json!({"id": id, "content": "x"}).as_object().unwrap().clone();
        intake::item("u", input, 0).unwrap().into()
    };
    store::insert(&mut store, &item("1")).unwrap();
    let known = epoch_at(&mut store, 1).unwrap();
    // Restored from a backup made now, in the place of a store that had come to 5.
    store::go_on_after(&mut store, 5).unwrap();
    assert_eq!(epoch_at(&mut store, 1).unwrap(), known, "who knew no more has missed nothing");
    assert_ne!(epoch_at(&mut store, 5).unwrap(), known);
    let store::Inserted::Now(seq) = store::insert(&mut store, &item("2")).unwrap() else {
        panic!("it was not there")
    };
    assert_eq!(seq, 6);
}
