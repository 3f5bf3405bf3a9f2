//! Words: how a stored message is split, which words carry no meaning, and which ones it is about.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::LazyLock;

/// A keyword has more characters than this.
pub const KEYWORD_CHARS_OVER: usize = 3;
/// A name has at most this many full words; more is a heading.
const NAME_WORDS_MAX: usize = 4;
/// A word of this length in -ing or -ly that opens a group is a verb or adverb.
const OPENER_BYTES_MIN: usize = 6;

/// One stored message as the rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Utterance<'a> {
    /// What was said.
    pub content: &'a str,
    /// Who spoke: a display name or an id.
    pub speaker: &'a str,
    /// When, in microseconds since the Unix epoch.
    pub at: i64,
    /// Order in the store, increasing.
    pub seq: i64,
}

/// The words of `text` in lower case and in order.
///
/// A word is a run of letters and digits; one apostrophe or hyphen between two of them belongs to
/// the word (`don't`, `well-known`), and a typographic apostrophe becomes a plain one.
pub fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let next_continues = chars.peek().copied().is_some_and(is_word_char);
        if is_word_char(c) {
            word.extend(c.to_lowercase());
        } else if !word.is_empty() {
            match joiner(c) {
                Some(joiner) if next_continues => word.push(joiner),
                Some(_) | None => words.push(std::mem::take(&mut word)),
            }
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// How many words `text` has.
pub fn word_count(text: &str) -> usize {
    words(text).len()
}

/// Is this lower-case word too common in English to say what a text is about?
pub fn is_stop_word(word: &str) -> bool {
    static STOP_WORDS: LazyLock<HashSet<&str>> = LazyLock::new(|| word_set(STOP_WORD_LIST));
    STOP_WORDS.contains(word)
}

/// The at most `most` commonest telling words of all `texts` with their counts.
///
/// Only words of more than [`KEYWORD_CHARS_OVER`] characters that are no stop words count; a
/// possessive counts as its owner. Highest count first, equal counts alphabetically.
pub fn keywords<I>(texts: I, most: usize) -> Vec<(String, usize)>
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for text in texts {
        for word in words(text.as_ref()) {
            let owner = word.strip_suffix("'s").unwrap_or(&word);
            let telling = !is_stop_word(&word)
                && !is_stop_word(owner)
                && owner.chars().count() > KEYWORD_CHARS_OVER;
            if telling {
                *counts.entry(owner.to_owned()).or_default() += 1;
            }
        }
    }
    let mut ranked: Vec<(String, usize)> = counts.into_iter().collect();
    ranked.sort_by_key(|(_, count)| std::cmp::Reverse(*count)); // stable: stays alphabetical
    ranked.truncate(most);
    ranked
}

/// The first `most` characters of `text`, without copying.
pub fn head(text: &str, most: usize) -> &str {
    match text.char_indices().nth(most) {
        Some((end, _)) => text.get(..end).unwrap_or(text),
        None => text,
    }
}

/// Is what stands between these no part of something longer: a word, or digits after a link?
pub(crate) fn stands_alone(before: &str, after: &str, links: &str) -> bool {
    let joins = |next: Option<char>, beyond: Option<char>| match next {
        Some(c) if c.is_alphanumeric() || c == '_' => true,
        Some(c) => links.contains(c) && beyond.is_some_and(|c| c.is_ascii_digit()),
        None => false,
    };
    let (mut back, mut on) = (before.chars().rev(), after.chars());
    !joins(back.next(), back.next()) && !joins(on.next(), on.next())
}

/// The text with NUL in place of these ascending spans.
pub(crate) fn masked(text: &str, spans: &[Range<usize>]) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut from = 0;
    for span in spans {
        masked.push_str(text.get(from..span.start).unwrap_or_default());
        masked.extend(std::iter::repeat_n('\0', span.len()));
        from = span.end;
    }
    masked.push_str(text.get(from..).unwrap_or_default());
    masked
}

/// A count as a number to calculate with; exact up to `u32::MAX`, that value above.
pub(crate) fn count_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// The words of a white-space separated list, for look-up.
pub(crate) fn word_set(list: &'static str) -> HashSet<&'static str> {
    list.split_whitespace().collect()
}

/// Letters, digits and the marks that sit on letters without being letters themselves.
fn is_word_char(c: char) -> bool {
    c.is_alphanumeric()
        || matches!(c,
            '\u{300}'..='\u{36f}' // accents written after their letter
            | '\u{94d}' | '\u{9cd}' | '\u{a4d}' | '\u{acd}' | '\u{b4d}' // Indic viramas
            | '\u{bcd}' | '\u{c4d}' | '\u{ccd}' | '\u{d4d}'
            | '\u{e47}'..='\u{e4e}' // Thai tone marks
            | '\u{200c}' | '\u{200d}') // zero-width joiners
}

/// What an inner joining character is written as, if it is one.
fn joiner(c: char) -> Option<char> {
    match c {
        '\'' | '\u{2019}' => Some('\''),
        '-' | '\u{2010}' | '\u{2011}' => Some('-'),
        _ => None,
    }
}

const STOP_WORD_LIST: &str = "
a about above after again against ago all almost already also although always am among an and
another any anybody anyone anything are aren't around as at away back be became because been before
being below between both but by can can't cannot could couldn't did didn't do does doesn't doing
don't done down during each either else enough etc even ever every everybody everyone everything
few for from further get gets getting go goes going gone got had hadn't has hasn't have haven't
having he he'd he'll he's her here here's hers herself him himself his how how's however http https
i i'd i'll i'm i've if in instead into is isn't it it'd it'll it's its itself just keep kind know
least less let let's like lot made make makes many may maybe me might mine more most much must
mustn't my myself near need needs neither never no nobody none nor not nothing now of off often oh
ok okay on once one only onto or other others otherwise our ours ourselves out over own per perhaps
put quite rather really said same say says see seem seems several shall shan't she she'd she'll
she's should shouldn't since so some somebody someone something sometimes soon still such take than
that that'll that's the their theirs them themselves then there there's these they they'd they'll
they're they've thing things this those though through thus to together too toward towards under
unless until up upon us use used using very via want wants was wasn't way we we'd we'll we're we've
well went were weren't what what's whatever when when's whenever where where's wherever whether
which while who who's whoever whole whom whose why why's will with within without won't would
wouldn't www yes yet you you'd you'll you're you've your yours yourself yourselves";

/// What a word of a capitalised run can be in a name.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Title,
    Initials(usize),
    Particle,
    Name,
    Organisation,
    Other,
}

/// The names within a run of capitalised words: where in `run` they stand.
pub(crate) fn names(run: &str) -> Vec<Range<usize>> {
    let mut offset = 0;
    let mut groups: Vec<Vec<(Part, Range<usize>)>> = vec![Vec::new()];
    for piece in run.split_inclusive(char::is_whitespace) {
        let (token, start) = (piece.trim_end(), offset);
        offset += piece.len();
        if token.is_empty() {
            continue;
        }
        let bare = token.strip_suffix("'s").or_else(|| token.strip_suffix("’s")).unwrap_or(token);
        let opens = groups.last().is_none_or(Vec::is_empty);
        let part = part(bare, opens);
        if part == Part::Title {
            groups.push(Vec::new());
        }
        if let Some(group) = groups.last_mut().filter(|_| part != Part::Other) {
            group.push((part, start..start + bare.len()));
        }
        if part == Part::Other || bare.len() < token.len() {
            groups.push(Vec::new());
        }
    }
    groups.iter().filter_map(|group| name(group)).collect()
}

/// The name a group of parts makes, if it does.
fn name(group: &[(Part, Range<usize>)]) -> Option<Range<usize>> {
    let last = group.iter().rposition(|(part, _)| *part == Part::Name)?;
    let first = group.iter().position(|(part, _)| *part != Part::Particle)?;
    let (mut words, mut titled, mut initials) = (0, false, 0);
    for (part, _) in group.get(first..=last)? {
        match part {
            Part::Title => titled = true,
            Part::Initials(letters) => initials += letters,
            Part::Name => words += 1,
            Part::Particle => {}
            Part::Organisation | Part::Other => return None,
        }
    }
    let organisation = group.iter().any(|(part, _)| *part == Part::Organisation);
    let enough = words >= 2 || (words == 1 && (titled || initials >= 2));
    let (start, end) = (group.get(first)?.1.start, group.get(last)?.1.end);
    (enough && words <= NAME_WORDS_MAX && !organisation).then_some(start..end)
}

fn part(token: &str, opens: bool) -> Part {
    static TITLES: LazyLock<HashSet<&str>> = LazyLock::new(|| word_set(TITLE_LIST));
    static OTHERS: LazyLock<HashSet<&str>> = LazyLock::new(|| word_set(OTHER_LIST));
    static ORGANISATIONS: LazyLock<HashSet<&str>> = LazyLock::new(|| word_set(ORGANISATION_LIST));
    static PLACES: LazyLock<HashSet<&str>> = LazyLock::new(|| word_set(PLACE_LIST));
    let lower = token.to_lowercase();
    let plain = lower.trim_end_matches('.');
    let stop = words(plain).iter().all(|word| is_stop_word(word));
    let ends = plain.ends_with("ing") || plain.ends_with("ly"); // "Meeting Ada", "Clearly Ada"
    let opener = opens && ends && plain.len() >= OPENER_BYTES_MIN;
    if TITLES.contains(plain) {
        Part::Title
    } else if opener || OTHERS.contains(plain) {
        Part::Other
    } else if ORGANISATIONS.contains(plain) || (opens && PLACES.contains(plain)) {
        Part::Organisation
    } else if token == lower {
        Part::Particle
    } else if token.ends_with('.') || token.chars().nth(1).is_none() {
        let letters = token.chars().filter(|c| c.is_alphabetic()).count();
        if stop && !token.ends_with('.') { Part::Other } else { Part::Initials(letters) }
    } else if stop || !is_name_shaped(token) {
        Part::Other
    } else {
        Part::Name
    }
}

/// Letters only, some of them small, and no capital inside but after Mc and its like.
fn is_name_shaped(token: &str) -> bool {
    let inner = |piece: &str| {
        let prefixes = ["Mc", "Mac", "De", "Di", "La", "Le", "Van", "Fitz"];
        let rest = prefixes.iter().find_map(|prefix| piece.strip_prefix(prefix));
        let rest = rest.filter(|rest| rest.starts_with(char::is_uppercase)).unwrap_or(piece);
        rest.chars().all(char::is_alphabetic) && !rest.chars().skip(1).any(char::is_uppercase)
    };
    token.chars().any(char::is_lowercase) && token.split(['\'', '’', '-']).all(inner)
}

const TITLE_LIST: &str = "
mr mrs ms mx miss dr doctor prof professor sir dame lord lady rev capt captain sen senator judge";

/// Capitalised where a sentence, a line or a day begins, and no part of a name.
const OTHER_LIST: &str = "
monday tuesday wednesday thursday friday saturday sunday january february march april may june july
august september october november december mon tue tues wed thu thur thurs fri sat sun jan feb mar
apr jun jul aug sep sept oct nov dec today tomorrow yesterday tonight morning afternoon evening
hello hi hey dear thanks thank please sorry welcome regards cheers sincerely best ask call tell meet
met contact email mail send sent show give see find visit call remind remember schedule book check
create add update fix write read open next last first second third good happy nice sure
right maybe actually finally unfortunately recently currently basically honestly hopefully
invite message ping text help take try run start stop move set buy pay bring wait look talk asked
told saw lunch dinner breakfast reminder summary agenda subject following regarding attached
christmas easter english german french spanish american british european chinese re fwd cc note
note todo question answer rules internet god u.s u.k u.n e.u d.c a.i p.s";

/// A group with one of these is no person.
const ORGANISATION_LIST: &str = "
inc ltd llc corp corporation co company gmbh ag plc group holdings university college school
institute academy bank foundation association society committee council department ministry agency
union party church hospital museum team project service services server system systems software
solutions technologies labs studio cloud platform memory machine learning intelligence data actions
conference meeting street avenue road square park city county river mountain island states kingdom
programming development engineering microsoft google amazon apple linux windows office
republic army airport hotel center centre international national united";

/// A group that begins with one of these is a place.
const PLACE_LIST: &str = "new north south east west san santa los las saint fort hong great";

#[cfg(test)]
mod tests {
    use super::*;

    fn check_words(text: &str, expected: &[&str]) {
        assert_eq!(words(text), expected, "{text:?}");
    }

    #[test]
    fn splits_at_everything_but_letters_digits_and_inner_joiners() {
        check_words("", &[]);
        check_words(" \n…!?", &[]);
        check_words("Hello, World!", &["hello", "world"]);
        check_words("Don't stop", &["don't", "stop"]);
        check_words("don’t", &["don't"]);
        check_words(
            "a well-known -dash- thing--here",
            &["a", "well-known", "dash", "thing", "here"],
        );
        check_words("'quoted' dogs'", &["quoted", "dogs"]);
        check_words("rock-'n'-roll", &["rock", "n", "roll"]);
        check_words("store_input v2 3.14", &["store", "input", "v2", "3", "14"]);
        check_words("end-", &["end"]);
    }

    #[test]
    fn knows_other_scripts() {
        check_words("ÉCOLE Straße ПРИВЕТ", &["école", "straße", "привет"]);
        check_words("e\u{301}cole", &["e\u{301}cole"]);
        check_words("हिन्दी भाषा", &["हिन्दी", "भाषा"]);
        check_words("你好,世界", &["你好", "世界"]);
        check_words("👍 ok 👍", &["ok"]);
    }

    #[test]
    fn counts_words() {
        assert_eq!(word_count(""), 0);
        assert_eq!(word_count("one, two and well-known three"), 5);
    }

    #[test]
    fn stop_words_are_lower_case_single_words_listed_once() {
        let listed: Vec<&str> = STOP_WORD_LIST.split_whitespace().collect();
        assert_eq!(listed.len(), word_set(STOP_WORD_LIST).len());
        for word in listed {
            assert_eq!(words(word), [word]);
            assert!(is_stop_word(word));
        }
        assert!(!is_stop_word("cortex"));
        assert!(!is_stop_word(""));
    }

    #[test]
    fn keywords_are_counted_then_alphabetical() {
        let texts = ["Memory and agents, memory!", "The zebra's agents have been with us; bee"];
        let expected =
            [("agents".to_owned(), 2), ("memory".to_owned(), 2), ("zebra".to_owned(), 1)];
        assert_eq!(keywords(texts, 10), expected);
        assert_eq!(keywords(texts, 2), expected[..2]);
        assert_eq!(keywords(texts, 0), []);
        assert_eq!(keywords(Vec::<String>::new(), 5), []);
        assert_eq!(keywords(["cat cats dog’s let's that's"], 5), [("cats".to_owned(), 1)]);
    }

    #[test]
    fn cuts_between_characters() {
        assert_eq!(head("äöü", 2), "äö");
        assert_eq!(head("äöü", 3), "äöü");
        assert_eq!(head("äöü", 0), "");
    }

    #[test]
    fn counts_become_numbers() {
        assert_eq!(count_f64(0), 0.0);
        assert_eq!(count_f64(7), 7.0);
        assert_eq!(count_f64(usize::MAX), f64::from(u32::MAX));
    }
}
