//! The names under which the gateway shows what its upstreams offer: stable over restarts, free of
//! collisions, and short enough for every client.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

/// Longest name shown, in characters: what the strictest of the common clients take.
pub const NAME_CHARS_MAX: usize = 64;
/// Stands between an upstream's prefix and its own name for the thing. Of the characters that the
/// protocol allows, some clients refuse the dot.
pub const SEPARATOR: &str = "__";
/// Characters of the mark that keeps apart names that would be the same.
const MARK_CHARS: usize = 8;

/// One thing to be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer<'a> {
    /// The upstream it is of, by its own name.
    pub upstream: &'a str,
    /// What is set before its name; nothing at all shows the name as it is.
    pub prefix: &'a str,
    /// What the upstream calls it.
    pub name: &'a str,
}

/// The name an offer would be shown under if it were the only one.
///
/// Characters outside `A-Z a-z 0-9 _ - .` become `_`; a name that is changed by that, or too long,
/// ends in a mark drawn from what it was, so that two such names stay two.
#[must_use]
pub fn wished(offer: &Offer<'_>) -> String {
    let joined = if offer.prefix.is_empty() {
        offer.name.to_owned()
    } else {
        format!("{}{SEPARATOR}{}", offer.prefix, offer.name)
    };
    let plain: String = joined.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    if plain == joined && plain.chars().count() <= NAME_CHARS_MAX && !plain.is_empty() {
        plain
    } else {
        marked(&plain, offer)
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// The name with the offer's mark at its end.
fn marked(plain: &str, offer: &Offer<'_>) -> String {
    let kept: String = plain.chars().take(NAME_CHARS_MAX - MARK_CHARS - 1).collect();
    format!("{kept}_{}", mark(offer))
}

/// Drawn from what cannot change without its being another thing.
fn mark(offer: &Offer<'_>) -> String {
    let mut hasher = Sha256::new();
    hasher.update(offer.upstream.as_bytes());
    hasher.update([0]);
    hasher.update(offer.name.as_bytes());
    let digest = hasher.finalize();
    digest.iter().take(MARK_CHARS / 2).map(|byte| format!("{byte:02x}")).collect()
}

/// The names of all offers, each with its place in `offers`.
///
/// Those that wish for the same name all get their marks, so that none of them depends on which
/// others are there first: only that there are others.
#[must_use]
pub fn named(offers: &[Offer<'_>]) -> BTreeMap<String, usize> {
    let mut wishes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, offer) in offers.iter().enumerate() {
        wishes.entry(wished(offer)).or_default().push(place);
    }
    let mut names = BTreeMap::new();
    for (wish, places) in wishes {
        let alone = places.len() == 1;
        for place in places {
            let Some(offer) = offers.get(place) else { continue };
            let name = if alone { wish.clone() } else { marked(&wish, offer) };
            // The same thing offered twice by one upstream: the first counts.
            names.entry(name).or_insert(place);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer<'a>(upstream: &'a str, name: &'a str) -> Offer<'a> {
        Offer { upstream, prefix: upstream, name }
    }

    #[test]
    fn plain_names_are_the_prefix_and_the_name() {
        assert_eq!(wished(&offer("memory", "store_input")), "memory__store_input");
        assert_eq!(wished(&Offer { upstream: "x", prefix: "", name: "as.it-is" }), "as.it-is");
    }

    #[test]
    fn strange_and_long_names_fit_and_stay_apart() {
        let long = "a".repeat(200);
        let longer = "a".repeat(201);
        let names: Vec<String> = ["über/all", "uber all", "ber_all", "", &long, &longer]
            .map(|name| wished(&offer("up", name)))
            .to_vec();
        for (place, name) in names.iter().enumerate() {
            assert!(name.len() <= NAME_CHARS_MAX && !name.is_empty(), "{name}");
            assert!(name.chars().all(is_plain), "{name}");
            assert!(!names.iter().skip(place + 1).any(|other| other == name), "{name}");
        }
    }

    #[test]
    fn a_collision_marks_both_and_does_not_depend_on_order() {
        let one = Offer { upstream: "one", prefix: "", name: "search" };
        let two = Offer { upstream: "two", prefix: "", name: "search" };
        let names = |offers: &[Offer<'_>]| -> BTreeMap<String, String> {
            let named = named(offers);
            named.into_iter().map(|(name, at)| (name, offers[at].upstream.to_owned())).collect()
        };
        let forward = names(&[one.clone(), two.clone()]);
        assert_eq!(forward, names(&[two, one.clone()]));
        assert_eq!(forward.len(), 2);
        assert!(!forward.contains_key("search"));
        assert_eq!(names(&[one]).keys().next().unwrap(), "search");
    }
}
