//! Words for retrieval: what of a text is indexed, in any script, and what a question's words are.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use rust_stemmers::{Algorithm, Stemmer};
use unicode_segmentation::UnicodeSegmentation as _;

/// A longer word is cut to this many characters: it is data, not language.
pub const WORD_CHARS_MAX: usize = 48;
/// Of one text at most this many words are read.
pub const TEXT_WORDS_MAX: usize = 20_000;

/// A word of a text, as it was written and as it is indexed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Lower case, without accents and possessive ending.
    pub plain: String,
    /// What is indexed: the stem of `plain`, or `plain` where no stemmer fits.
    pub stem: String,
    /// Too common to say anything; not indexed.
    pub stop: bool,
    /// Whether it was written with a capital first letter.
    pub capital: bool,
}

/// The words of a text in order: Unicode words (UAX 29), lower case, accents folded, possessive
/// `'s` dropped, English stems (Snowball) for Latin script; characters and pairs of characters for
/// scripts that put no spaces between words.
///
/// A word of several parts (`ERR_CONN_RESET`, `v2.1`) is itself and its parts. At most
/// [`TEXT_WORDS_MAX`].
#[must_use]
pub fn words(text: &str) -> Vec<Word> {
    let mut found = Vec::new();
    for piece in text.split_word_bounds() {
        if found.len() >= TEXT_WORDS_MAX {
            break;
        }
        if piece.chars().any(char::is_alphanumeric) && !piece.chars().any(is_unspaced) {
            spaced(piece, &mut found);
        }
    }
    unspaced(text, &mut found);
    found.truncate(TEXT_WORDS_MAX);
    found
}

/// The words of a text that are indexed.
#[must_use]
pub fn telling(text: &str) -> Vec<String> {
    words(text).into_iter().filter(|word| !word.stop).map(|word| word.stem).collect()
}

/// Is this a word that says nothing (lower case, accents folded)?
#[must_use]
pub fn is_stop_word(plain: &str) -> bool {
    static STOP: LazyLock<HashSet<&str>> =
        LazyLock::new(|| STOP_WORD_LIST.split_whitespace().collect());
    STOP.contains(plain)
}

/// A word between spaces: whole, and in parts when it has some.
fn spaced(piece: &str, found: &mut Vec<Word>) {
    let capital = piece.chars().next().is_some_and(char::is_uppercase);
    let folded: String = piece.chars().take(WORD_CHARS_MAX).flat_map(char::to_lowercase).collect();
    let folded: String = folded.chars().flat_map(plain_letters).collect();
    let owner = folded.strip_suffix("'s").unwrap_or(&folded);
    if owner.is_empty() {
        // Marks alone, or what was a letter's ornament.
        return;
    }
    if !owner.contains(|c: char| !c.is_alphanumeric()) {
        found.push(word(owner, capital));
        return;
    }
    if is_stop_word(&folded) || is_stop_word(owner) {
        found.push(Word { plain: owner.to_owned(), stem: owner.to_owned(), stop: true, capital });
        return;
    }
    if !owner.contains('\'') {
        let whole = owner.to_owned();
        found.push(Word { plain: whole.clone(), stem: whole, stop: false, capital });
    }
    for part in owner.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()) {
        found.push(word(part, capital));
    }
}

fn word(plain: &str, capital: bool) -> Word {
    Word { plain: plain.to_owned(), stem: stem(plain), stop: is_stop_word(plain), capital }
}

/// The English stem of a word in Latin letters; any other word as it is.
#[must_use]
pub fn stem(plain: &str) -> String {
    static ENGLISH: LazyLock<Stemmer> = LazyLock::new(|| Stemmer::create(Algorithm::English));
    if plain.bytes().all(|byte| byte.is_ascii_lowercase()) {
        let base = IRREGULAR.get(plain).map(|base| (*base).to_owned());
        base.unwrap_or_else(|| ENGLISH.stem(plain).into_owned())
    } else {
        plain.to_owned()
    }
}

/// Runs of letters of scripts without spaces: every ideograph, and every pair of neighbours.
fn unspaced(text: &str, found: &mut Vec<Word>) {
    let mut before: Option<char> = None;
    let mut paired = false;
    for letter in text.chars().chain(std::iter::once(' ')) {
        if found.len() >= TEXT_WORDS_MAX {
            return;
        }
        if !is_unspaced(letter) {
            if let (Some(alone), false) = (before, paired)
                && !is_ideograph(alone)
            {
                found.push(exact(alone.to_string()));
            }
            before = None;
            continue;
        }
        if is_ideograph(letter) {
            found.push(exact(letter.to_string()));
        }
        paired = before.is_some();
        if let Some(first) = before {
            found.push(exact([first, letter].iter().collect()));
        }
        before = Some(letter);
    }
}

fn exact(plain: String) -> Word {
    Word { stem: plain.clone(), plain, stop: false, capital: false }
}

/// Chinese characters, which may be a word alone.
#[must_use]
pub fn is_ideograph(letter: char) -> bool {
    matches!(letter, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3134f}')
}

/// Letters of scripts without spaces between words, and of Korean, whose words carry endings.
fn is_unspaced(letter: char) -> bool {
    is_ideograph(letter)
        || matches!(letter,
            '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}' | '\u{30fc}' | '\u{31f0}'..='\u{31ff}' // Japanese
            | '\u{ac00}'..='\u{d7a3}' // Korean
            | '\u{e01}'..='\u{e3a}' | '\u{e40}'..='\u{e4e}' // Thai
            | '\u{e81}'..='\u{ede}' // Lao
            | '\u{1000}'..='\u{109f}' // Burmese
            | '\u{1780}'..='\u{17d3}') // Khmer
}

/// A lower-case letter without its accent, so that `resume` finds `résumé`.
fn plain_letters(letter: char) -> impl Iterator<Item = char> {
    let (first, second) = match letter {
        '\u{2019}' | '\u{2bc}' => ('\'', None),
        'à'..='å' | 'ā' | 'ă' | 'ą' | 'ǎ' => ('a', None),
        'æ' => ('a', Some('e')),
        'ç' | 'ć' | 'č' | 'ĉ' | 'ċ' => ('c', None),
        'ď' | 'đ' | 'ð' => ('d', None),
        'è'..='ë' | 'ē' | 'ė' | 'ę' | 'ě' => ('e', None),
        'ğ' | 'ģ' => ('g', None),
        'ì'..='ï' | 'ī' | 'į' | 'ı' => ('i', None),
        'ķ' => ('k', None),
        'ĺ' | 'ļ' | 'ľ' | 'ł' => ('l', None),
        'ñ' | 'ń' | 'ņ' | 'ň' => ('n', None),
        'ò'..='ö' | 'ø' | 'ō' | 'ő' => ('o', None),
        'œ' => ('o', Some('e')),
        'ŕ' | 'ř' => ('r', None),
        'ś' | 'ş' | 'š' | 'ș' => ('s', None),
        'ß' => ('s', Some('s')),
        'ţ' | 'ť' | 'ț' => ('t', None),
        'ù'..='ü' | 'ū' | 'ů' | 'ű' | 'ų' => ('u', None),
        'ý' | 'ÿ' => ('y', None),
        'ź' | 'ż' | 'ž' => ('z', None),
        '\u{300}'..='\u{36f}' => ('\0', None), // an accent written after its letter
        other => (other, None),
    };
    std::iter::once(first).chain(second).filter(|letter| *letter != '\0')
}

/// Forms that no stemmer joins: irregular verbs and plurals, each with the stem of its base.
static IRREGULAR: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| {
    let pairs = IRREGULAR_LIST.split(',').filter_map(|entry| {
        let mut forms = entry.split_whitespace();
        let base = forms.next()?;
        Some(forms.map(move |form| (form, base)))
    });
    pairs.flatten().collect()
});

const IRREGULAR_LIST: &str = "
go went gone, buy bought, bring brought, teach taught, catch caught, fight fought, seek sought, 
run ran, begin began begun, drink drank drunk, sing sang sung, swim swam swum, ring rang rung,
write wrote written, ride rode ridden, drive drove driven, speak spoke spoken, break broke broken,
choos chose chosen, steal stole stolen, wear wore worn, tear tore torn, grow grew grown,
know knew known, throw threw thrown, draw drew drawn, fli flew flown, eat ate eaten, give gave given,
take took taken, shake shook shaken, fall fell fallen, see saw seen, sell sold, tell told,
feel felt, keep kept, sleep slept, leav left, meet met, lose lost, find found, hold held, stand stood,
understand understood, think thought, build built, send sent, spend spent, lend lent, win won,
hear heard, pay paid, say said, sit sat, shoot shot, feed fed, lead led, forget forgot forgotten,
becom became, hide hidden hid, wake woke woken, bite bitten bit, mouse mice, child children, man men,
woman women, foot feet, tooth teeth, goos geese, person peopl, wife wives, knife knives, die dying, lie lying, hurt hurt";

pub(crate) const STOP_WORD_LIST: &str = "
a about above after again all also although am an and any are aren't around as at away be because
been before being below between both but by can can't cannot could couldn't did didn't do does
doesn't doing don't down during each either else ever every few for from further had hadn't has
hasn't have haven't having he he'd he'll her here hers herself him himself his how however i i'd
i'll i'm i've if in into is isn't it it'd it'll its itself just let let's may me might mine more
most much must mustn't my myself no nor not now of off on once only onto or other our ours ourselves
out over own same shall she she'd she'll should shouldn't since so some such than that that'll the
their theirs them themselves then there these they they'd they'll they're they've this those though
through thus to too under until up upon us very was wasn't we we'd we'll we're we've were weren't
what whatever when where whether which while who whom whose why will with within without won't would
wouldn't yes yet you you'd you'll you're you've your yours yourself yourselves
s t d m re ve ll o y
hey hi hello yeah yep wow oh ok okay thanks thank please well really so gonna wanna lol haha hm hmm";
