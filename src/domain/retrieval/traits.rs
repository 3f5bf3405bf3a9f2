//! Traits of a text that its words alone do not tell: numbers, times, names, questions.

use unicode_segmentation::UnicodeSegmentation as _;

use super::words::Word;

/// What a message is like beside its words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// A number, in digits or as a word.
    pub number: bool,
    /// An expression of time: a day, a month, "last week", "ago".
    pub time: bool,
    /// Words with a capital within a sentence, at most 255 (count).
    pub names: u8,
    /// Something in quotation marks: a title, a saying.
    pub quoted: bool,
    /// A picture is attached.
    pub picture: bool,
    /// How much of it is questions, from 0 to 255.
    pub asking: u8,
}

impl Traits {
    /// The traits of a text that has these words.
    #[must_use]
    pub fn of(content: &str, caption: &str, words: &[Word]) -> Self {
        Traits {
            number: words.iter().any(is_number),
            time: words.iter().any(is_time),
            names: names(content),
            quoted: is_quoted(content),
            picture: !caption.is_empty(),
            asking: asking(content),
        }
    }
}

fn is_number(word: &Word) -> bool {
    word.plain.starts_with(|c: char| c.is_numeric()) || has(NUMBER_WORDS, &word.plain)
}

fn is_time(word: &Word) -> bool {
    has(TIME_WORDS, &word.plain)
        || (word.capital && has(MONTHS_OR_VERBS, &word.plain))
        || is_year(&word.plain)
}

fn is_year(plain: &str) -> bool {
    plain.len() == 4
        && (plain.starts_with("19") || plain.starts_with("20"))
        && plain.bytes().all(|byte| byte.is_ascii_digit())
}

fn has(list: &str, word: &str) -> bool {
    list.split_ascii_whitespace().any(|listed| listed == word)
}

/// Capitalised words that do not open a sentence and are not `I`.
fn names(content: &str) -> u8 {
    let mut count: u8 = 0;
    let mut opens = true;
    for piece in content.split_word_bounds() {
        let Some(first) = piece.chars().next() else { continue };
        if first.is_alphanumeric() {
            let longer = piece.chars().nth(1).is_some_and(char::is_alphabetic);
            if !opens && longer && first.is_uppercase() {
                count = count.saturating_add(1);
            }
            opens = false;
        } else if matches!(first, '.' | '!' | '?' | '\n' | '…' | ':' | '。' | '！' | '？') {
            opens = true;
        }
    }
    count
}

fn is_quoted(content: &str) -> bool {
    let straight = content.chars().filter(|c| *c == '"').count();
    straight >= 2 || content.contains(['“', '„', '«', '「', '『', '《'])
}

/// The share of the characters that stand in sentences which end with a question mark.
fn asking(content: &str) -> u8 {
    let (mut asked, mut all, mut sentence) = (0_u64, 0_u64, 0_u64);
    for letter in content.chars() {
        match letter {
            '?' | '？' | '؟' => {
                asked += sentence;
                all += sentence;
                sentence = 0;
            }
            '.' | '!' | '\n' | '。' | '！' | '…' => {
                all += sentence;
                sentence = 0;
            }
            other if other.is_alphanumeric() => sentence += 1,
            _ => {}
        }
    }
    all += sentence;
    let share = (asked * 255).checked_div(all).unwrap_or_default();
    u8::try_from(share).unwrap_or(u8::MAX)
}

const NUMBER_WORDS: &str = "
two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty hundred
hundreds thousand thousands million dozen couple several twice once first second third double zwei
drei vier fünf deux trois quatre cinq";

const TIME_WORDS: &str = "
today yesterday tomorrow tonight ago week weeks month months year years weekend weekends day days
monday tuesday wednesday thursday friday saturday sunday january february april june july august
september october november december morning afternoon evening night recently lately earlier soon
next last since hour hours minute minutes spring summer autumn winter christmas easter thanksgiving
birthday anniversary heute gestern morgen woche wochen monat monate jahr jahre montag dienstag
mittwoch donnerstag freitag samstag sonntag aujourd hier demain semaine mois annee lundi mardi
mercredi jeudi vendredi samedi dimanche hoy ayer manana semana mes ano";

/// Months that are verbs or more in lower case.
const MONTHS_OR_VERBS: &str = "march may fall";
