//! Properties of what is bounded: the outbox's ledger, the doors, the window of a breaker, and how
//! long silence is borne.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cortex::domain::{
    admission::{Admission, Places, Refused},
    latency,
    outbox::{Full, Ledger, Limits, Load},
    window::{Tally, Window},
};
use proptest::prelude::*;
use tokio::time::Instant;

const NAMES: [&str; 4] = ["ann", "ben", "eve", "zoe"];

fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

fn sum<'a>(entries: impl Iterator<Item = &'a (usize, usize, usize)>) -> Load {
    entries.fold(Load::default(), |load, (_, _, bytes)| Load {
        entries: load.entries + 1,
        bytes: load.bytes + bytes,
    })
}

fn own(inside: &BTreeMap<usize, usize>, who: usize) -> usize {
    inside.get(&who).copied().unwrap_or_default()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever asks before adding never brings the ledger over its limits, and it always says what a
    /// plain list of the entries would.
    #[test]
    fn a_ledger_counts_what_waits_and_lets_no_more_in_than_fits(
        entries_max in 0usize..20, bytes_max in 0usize..500, user_share in 0.0f64..=1.0,
        steps in prop::collection::vec((0usize..4, 0usize..3, 0usize..120, 0u8..10), 0..200),
    ) {
        let limits = Limits { entries_max, bytes_max, user_share, refused_max: usize::MAX };
        let mut ledger = Ledger::new(limits);
        let mut waiting: Vec<(usize, usize, usize)> = Vec::new();
        let place = |conversation: usize| format!("c{conversation}");
        for (user, conversation, bytes, what) in steps {
            match what {
                0..6 => {
                    let fits = ledger.fits(NAMES[user], bytes);
                    let all = sum(waiting.iter());
                    let whole = all.entries < entries_max && all.bytes + bytes <= bytes_max;
                    prop_assert_eq!(fits == Err(Full::Whole), !whole);
                    let mine = sum(waiting.iter().filter(|entry| entry.0 == user));
                    if fits.is_ok() {
                        // One entry always; else no more than the share.
                        let most = (float(entries_max) * user_share).max(1.0);
                        prop_assert!(float(mine.entries + 1) <= most);
                        ledger.add(NAMES[user], &place(conversation), bytes);
                        waiting.push((user, conversation, bytes));
                    }
                }
                6..9 if !waiting.is_empty() => {
                    let (user, conversation, bytes) = waiting.swap_remove(bytes % waiting.len());
                    ledger.remove(NAMES[user], &place(conversation), bytes);
                }
                _ => {
                    // One that was never added.
                    ledger.remove("nobody", &place(conversation), bytes);
                    if !waiting.iter().any(|entry| entry.0 == user && entry.1 == conversation) {
                        ledger.remove(NAMES[user], &place(conversation), bytes);
                    }
                }
            }
            let load = ledger.load();
            prop_assert_eq!(load, sum(waiting.iter()));
            prop_assert!(load.entries <= entries_max && load.bytes <= bytes_max);
            for (user, name) in NAMES.iter().enumerate() {
                for conversation in 0..3 {
                    // Whoever takes part waits behind whoever of them spoke.
                    let holds = waiting.iter().any(|entry| entry.1 == conversation);
                    prop_assert_eq!(ledger.holds(name, &place(conversation)), holds, "{}", user);
                }
            }
        }
    }

    /// Never more inside than places; nobody beyond their part; a newcomer finds a place while
    /// those inside have only their part; and leaving restores what was before.
    #[test]
    fn a_door_lets_in_what_it_has_places_for_and_keeps_some_for_newcomers(
        max in 1usize..40, shared_percent in 1usize..=100,
        steps in prop::collection::vec((prop::option::of(0usize..4), any::<bool>()), 0..300),
    ) {
        let users: Vec<Arc<str>> = NAMES.iter().map(|name| Arc::from(*name)).collect();
        let mut door = Admission::new(Places { max, shared_percent });
        let mut inside: BTreeMap<usize, usize> = BTreeMap::new();
        let mut nobodys = 0;
        for (who, enters) in steps {
            let user = who.map(|who| &users[who]);
            let total = inside.values().sum::<usize>() + nobodys;
            prop_assert_eq!(door.inside(), total);
            if enters {
                let entered = door.enter(user);
                prop_assert_eq!(entered == Err(Refused::Full), total >= max);
                match who {
                    None => nobodys += usize::from(entered.is_ok()),
                    Some(who) => {
                        let before = own(&inside, who);
                        let count = inside.len() + usize::from(before == 0);
                        let part = (max * shared_percent / 100 / count).max(1);
                        prop_assert_eq!(entered == Err(Refused::Share), total < max && before >= part);
                        prop_assert!(before > 0 || total >= max || entered.is_ok(), "a newcomer");
                        if entered.is_ok() {
                            inside.insert(who, before + 1);
                        }
                    }
                }
            } else if let Some(who) = who.filter(|who| own(&inside, *who) > 0) {
                door.leave(user);
                let left = own(&inside, who) - 1;
                if left == 0 { inside.remove(&who) } else { inside.insert(who, left) };
            } else if who.is_none() && nobodys > 0 {
                door.leave(None);
                nobodys -= 1;
            }
            prop_assert!(door.inside() <= max);
        }
        for (who, count) in inside {
            (0..count).for_each(|_| door.leave(Some(&users[who])));
        }
        (0..nobodys).for_each(|_| door.leave(None));
        prop_assert_eq!(door.inside(), 0);
        prop_assert_eq!(door.enter(Some(&users[0])), Ok(()));
    }

    /// As long as time goes forward a window has what a list of the calls has, to within the piece
    /// that is sliding out.
    #[test]
    fn a_window_counts_the_calls_of_its_length(
        calls in prop::collection::vec((0u64..3000, any::<bool>()), 0..200),
    ) {
        let length = Duration::from_secs(10);
        let begun = Instant::now();
        let window = Window::new(length, begun);
        let mut now = begun;
        let mut all: Vec<(Instant, bool)> = Vec::new();
        for (ms, bad) in calls {
            now += Duration::from_millis(ms);
            window.count(bad, now);
            all.push((now, bad));
            let within = |length: Duration| {
                let young = all.iter().filter(|(at, _)| now.duration_since(*at) < length);
                young.fold(Tally::default(), |tally, (_, bad)| Tally {
                    calls: tally.calls + 1,
                    bad: tally.bad + u64::from(*bad),
                })
            };
            let (seen, most) = (window.tally(now), within(length));
            let least = within(length - length / 10);
            prop_assert!((least.calls..=most.calls).contains(&seen.calls), "{seen:?} {least:?} {most:?}");
            prop_assert!((least.bad..=most.bad).contains(&seen.bad), "{seen:?} {least:?} {most:?}");
        }
    }

    #[test]
    fn what_is_late_never_undoes_what_is_new(
        calls in prop::collection::vec((0u64..100_000, any::<bool>()), 0..200),
    ) {
        let begun = Instant::now();
        let window = Window::new(Duration::from_secs(10), begun);
        let mut latest = begun;
        for (ms, bad) in calls {
            let now = begun + Duration::from_millis(ms);
            let before = window.tally(latest);
            window.count(bad, now);
            if now <= latest {
                let after = window.tally(latest);
                prop_assert!(after.calls >= before.calls && after.bad >= before.bad);
            }
            latest = latest.max(now);
            let seen = window.tally(latest);
            prop_assert!(seen.bad <= seen.calls);
        }
    }

    #[test]
    fn silence_is_borne_no_shorter_than_the_floor_and_longer_for_slower_calls(
        floor in 0u64..10_000, factor in -1.0f64..1e12, a in 0u64..100_000, b in 0u64..100_000,
    ) {
        let ms = Duration::from_millis;
        let limit = |usual: u64| latency::stall_limit(ms(floor), factor, Some(ms(usual)));
        prop_assert!(limit(a) >= ms(floor));
        prop_assert!(limit(a.min(b)) <= limit(a.max(b)));
        prop_assert_eq!(latency::stall_limit(ms(floor), factor, None), ms(floor));
    }

    #[test]
    fn a_latency_fades_to_nothing_and_what_is_usual_stays_between_the_samples(
        samples in prop::collection::vec(0u64..60_000, 1..60), gap in 0u64..100_000,
    ) {
        let ms = Duration::from_millis;
        let mut usual = None;
        for sample in &samples {
            usual = Some(latency::usual(usual, ms(*sample)));
        }
        let (least, most) = (samples.iter().min().unwrap(), samples.iter().max().unwrap());
        let (usual, hair) = (usual.unwrap(), Duration::from_micros(1));
        prop_assert!(usual + hair >= ms(*least) && usual <= ms(*most) + hair, "{usual:?}");
        prop_assert!(latency::faded(usual, ms(gap)) <= usual);
        prop_assert!(latency::faded(usual, ms(gap) + latency::FADE) <= usual.mul_f64(0.37));
    }
}
