//! Expressions of time in a text, as the days they mean: dates, months, "last Tuesday", "two weeks ago".

use jiff::{
    Span as Stretch, ToSpan as _,
    civil::{Date, Weekday},
};

use super::calendar::{self, Unit};

/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;
/// Of one text at most this many expressions are read.
pub const EXPRESSIONS_MAX: usize = 32;
/// A number of units that is more than this is no distance in a life (count).
const DISTANCE_MAX: i64 = 5000;

/// Days that are meant: from the first to before the last, since the Unix epoch (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first day.
    pub from: i32,
    /// The day after the last.
    pub to: i32,
}

impl Span {
    /// Whether they have a day in common.
    #[must_use]
    pub fn meets(self, other: Span) -> bool {
        self.from < other.to && other.from < self.to
    }

    /// How many days.
    #[must_use]
    pub fn days(self) -> i32 {
        self.to.saturating_sub(self.from)
    }

    fn days_from(first: Date, days: i32) -> Self {
        let from = number(first);
        Span { from, to: from.saturating_add(days) }
    }

    fn until(first: Date, end: Date) -> Self {
        Span { from: number(first), to: number(end) }
    }
}

/// The day a time is in, since the Unix epoch (UTC).
#[must_use]
pub fn day_of(at: i64) -> i32 {
    i32::try_from(at.div_euclid(DAY_MS)).unwrap_or(if at < 0 { i32::MIN } else { i32::MAX })
}

fn number(date: Date) -> i32 {
    let epoch = Date::new(1970, 1, 1).unwrap_or(Date::ZERO);
    date.since(epoch).map_or(0, |span| span.get_days())
}

fn date_of(at: i64) -> Option<Date> {
    Date::new(1970, 1, 1)
        .ok()?
        .checked_add(Stretch::new().try_days(i64::from(day_of(at))).ok()?)
        .ok()
}

/// A word or number of the text, and what stands before it.
#[derive(Debug)]
struct Token {
    text: String,
    capital: bool,
    link: char,
}

/// The days a text speaks of, seen from `at` (milliseconds since the Unix epoch): in the text's
/// order, at most [`EXPRESSIONS_MAX`].
///
/// Weekdays, months and days without a year are those nearest before `at`, unless the text says
/// "next". A date that cannot be is not read.
#[must_use]
pub fn spans(text: &str, at: i64) -> Vec<Span> {
    let Some(now) = date_of(at) else { return Vec::new() };
    let tokens = tokens(text);
    let mut rest = tokens.as_slice();
    let mut found = Vec::new();
    while let Some((_, after)) = rest.split_first() {
        match expression(rest, now) {
            Some((span, used)) if found.len() < EXPRESSIONS_MAX => {
                found.push(span);
                rest = rest.get(used.max(1)..).unwrap_or_default();
            }
            Some(_) => break,
            None => rest = after,
        }
    }
    found
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let (mut open, mut link) = (false, ' ');
    for letter in text.chars() {
        if !letter.is_alphanumeric() {
            (open, link) = (false, letter);
            continue;
        }
        if !open {
            let capital = letter.is_uppercase();
            tokens.push(Token { text: String::new(), capital, link });
            (open, link) = (true, ' ');
        }
        if let Some(token) = tokens.last_mut() {
            token.text.extend(letter.to_lowercase());
        }
    }
    tokens
}

/// The expression a text begins with, and how many tokens it takes.
fn expression(tokens: &[Token], now: Date) -> Option<(Span, usize)> {
    shifted(tokens, now).or_else(|| simple(tokens, now))
}

/// "two weeks before 8 May", "the Sunday after 8 May", "two weeks ago", "vor zwei Wochen".
fn shifted(tokens: &[Token], now: Date) -> Option<(Span, usize)> {
    let word = |at: usize| tokens.get(at).map(|token| token.text.as_str());
    if word(0)? == "vor" || (word(0)? == "il" && word(1) == Some("y") && word(2) == Some("a")) {
        let skip = if word(0) == Some("vor") { 1 } else { 3 };
        let (count, used) = calendar::count(word(skip)?).map(|count| (count, 1))?;
        let unit = calendar::unit(word(skip + used)?)?;
        return Some((moved(now, -count, unit)?, skip + used + 1));
    }
    if let Some(weekday) = calendar::weekday(word(0)?) {
        let back = match word(1)? {
            "before" => true,
            "after" => false,
            _ => return None,
        };
        let (anchor, used) = simple(tokens.get(2..)?, now)?;
        let anchor = date_of(i64::from(anchor.from).saturating_mul(DAY_MS))?;
        let day = if back { previous(anchor, weekday)? } else { following(anchor, weekday)? };
        return Some((Span::days_from(day, 1), 2 + used));
    }
    let (count, used) = match (word(0)?, word(1)) {
        ("a", Some("couple")) if word(2) == Some("of") => (2, 3),
        ("a", Some("few")) => (3, 2),
        ("few" | "several", _) => (3, 1),
        (first, _) => (calendar::count(first)?, 1),
    };
    let unit = calendar::unit(word(used)?)?;
    let (back, anchor, more) = match word(used + 1)? {
        "ago" | "back" | "earlier" => (true, now, 0),
        "before" | "prior" => {
            let skip = if word(used + 2) == Some("to") { 1 } else { 0 };
            let (span, more) = simple(tokens.get(used + 2 + skip..)?, now)?;
            (true, date_of(i64::from(span.from).saturating_mul(DAY_MS))?, more + skip)
        }
        "after" => {
            let (span, more) = simple(tokens.get(used + 2..)?, now)?;
            (false, date_of(i64::from(span.from).saturating_mul(DAY_MS))?, more)
        }
        _ => return None,
    };
    let span = moved(anchor, if back { -count } else { count }, unit)?;
    Some((span, used + 2 + more))
}

/// A day, or a stretch about as wide as the unit is rough.
fn moved(from: Date, count: i64, unit: Unit) -> Option<Span> {
    if count.abs() > DISTANCE_MAX {
        return None;
    }
    let by = match unit {
        Unit::Day => Stretch::new().try_days(count).ok()?,
        Unit::Week => Stretch::new().try_weeks(count).ok()?,
        Unit::Month => Stretch::new().try_months(count).ok()?,
        Unit::Year => Stretch::new().try_years(count).ok()?,
    };
    let there = from.checked_add(by).ok()?;
    Some(match unit {
        Unit::Day => Span::days_from(there, 1),
        Unit::Week => Span::days_from(there.checked_sub(3.days()).ok()?, 7),
        Unit::Month => Span::days_from(there.checked_sub(15.days()).ok()?, 31),
        Unit::Year => Span::until(there.first_of_year(), year_after(there)?),
    })
}

/// A date, a month, a year, a weekday, "yesterday", "last week", "the summer of 2022".
fn simple(tokens: &[Token], now: Date) -> Option<(Span, usize)> {
    let (first, rest) = tokens.split_first()?;
    if first.text == "the" || first.text == "of" {
        return simple(rest, now).map(|(span, used)| (span, used + 1));
    }
    let word = |at: usize| tokens.get(at).map(|token| token.text.as_str());
    if let Some(days) = calendar::near_day(&first.text) {
        let day = now.checked_add(Stretch::new().try_days(days).ok()?).ok()?;
        return Some((Span::days_from(day, 1), 1));
    }
    if let Some(way) = calendar::way(&first.text) {
        return relative(way, word(1)?, now).map(|span| (span, 2));
    }
    numeric(tokens, now)
        .or_else(|| month_first(tokens, now))
        .or_else(|| day_first(tokens, now))
        .or_else(|| {
            let weekday = calendar::weekday(&first.text)?;
            Some((Span::days_from(previous(now.tomorrow().ok()?, weekday)?, 1), 1))
        })
        .or_else(|| {
            let feast = calendar::feast(&first.text)?;
            let (year, used) = match word(1).and_then(year) {
                Some(year) => (Some(year), 2),
                None => (None, 1),
            };
            let day = dated(year, feast.0, feast.1, now)?;
            Some((Span::days_from(day, 1), used))
        })
        .or_else(|| season(tokens, now))
        .or_else(|| {
            let first_day = Date::new(year(&first.text)?, 1, 1).ok()?;
            Some((Span::until(first_day, year_after(first_day)?), 1))
        })
}

/// 2023-05-08, 08.05.2023, 5/8/2023: three numbers with the same sign between them.
fn numeric(tokens: &[Token], now: Date) -> Option<(Span, usize)> {
    let [one, two, three, ..] = tokens else { return None };
    if two.link != three.link || !matches!(two.link, '-' | '.' | '/') {
        return None;
    }
    let numbers: Vec<i16> = [one, two, three].iter().filter_map(|t| t.text.parse().ok()).collect();
    let &[a, b, c] = numbers.as_slice() else { return None };
    let (year, month, day) = match (one.text.len(), two.link) {
        (4, _) => (a, b, c),
        (_, '/') if a <= 12 => (c, a, b),
        _ => (c, b, a),
    };
    let year = if year < 100 { now.year().div_euclid(100) * 100 + year } else { year };
    let date = Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    Some((Span::days_from(date, 1), 3))
}

/// May 8, 2023; May 8th; May 2023; May.
fn month_first(tokens: &[Token], now: Date) -> Option<(Span, usize)> {
    let word = |at: usize| tokens.get(at).map(|token| token.text.as_str());
    let first = tokens.first()?;
    let month = calendar::month(&first.text, first.capital)?;
    if let Some(day) = word(1).and_then(calendar::day) {
        let (stated, used) = match word(2).and_then(year) {
            Some(year) => (Some(year), 3),
            None => (None, 2),
        };
        return Some((Span::days_from(dated(stated, month, day, now)?, 1), used));
    }
    let (stated, used) = match word(1).and_then(year) {
        Some(year) => (Some(year), 2),
        None => (None, 1),
    };
    let start = dated(stated, month, 1, now)?;
    Some((Span::until(start, month_after(start)?), used))
}

/// 8 May 2023; the 8th of May; 8. Mai.
fn day_first(tokens: &[Token], now: Date) -> Option<(Span, usize)> {
    let word = |at: usize| tokens.get(at).map(|token| token.text.as_str());
    let day = calendar::day(word(0)?)?;
    let skip = if matches!(word(1)?, "of" | "de") { 2 } else { 1 };
    let named = tokens.get(skip)?;
    let month = calendar::month(&named.text, named.capital)?;
    let (stated, used) = match word(skip + 1).and_then(year) {
        Some(year) => (Some(year), skip + 2),
        None => (None, skip + 1),
    };
    Some((Span::days_from(dated(stated, month, day, now)?, 1), used))
}

/// A day of a stated year, or the last one that was (or is today).
fn dated(year: Option<i16>, month: i8, day: i8, now: Date) -> Option<Date> {
    match year {
        Some(year) => Date::new(year, month, day).ok(),
        None => {
            let this = Date::new(now.year(), month, day).ok();
            this.filter(|date| *date <= now)
                .or_else(|| Date::new(now.year().checked_sub(1)?, month, day).ok())
        }
    }
}

fn season(tokens: &[Token], now: Date) -> Option<(Span, usize)> {
    let word = |at: usize| tokens.get(at).map(|token| token.text.as_str());
    let month = calendar::season(word(0)?)?;
    let skip = if word(1) == Some("of") { 2 } else { 1 };
    let (stated, used) = match word(skip).and_then(year) {
        Some(year) => (Some(year), skip + 1),
        None => (None, 1),
    };
    let start = dated(stated, month, 1, now)?;
    Some((Span::until(start, start.checked_add(3.months()).ok()?), used))
}

/// "last week", "this month", "next Friday".
fn relative(way: i64, what: &str, now: Date) -> Option<Span> {
    if let Some(weekday) = calendar::weekday(what) {
        let day = match way {
            -1 => previous(now, weekday)?,
            0 => previous(now.tomorrow().ok()?, weekday)?,
            _ => following(now, weekday)?,
        };
        return Some(Span::days_from(day, 1));
    }
    if let Some(month) = calendar::month(what, true) {
        let start = dated(None, month, 1, now)?;
        let start = if way > 0 { start.checked_add(1.year()).ok()? } else { start };
        return Some(Span::until(start, month_after(start)?));
    }
    if let Some(month) = calendar::season(what) {
        let start = dated(None, month, 1, now)?;
        return Some(Span::until(start, start.checked_add(3.months()).ok()?));
    }
    let days_since_monday = i64::from(now.weekday().to_monday_zero_offset());
    let monday = now.checked_sub(Stretch::new().try_days(days_since_monday).ok()?).ok()?;
    if matches!(what, "weekend" | "wochenende") {
        let monday = monday.checked_add(Stretch::new().try_weeks(way).ok()?).ok()?;
        return Some(Span::days_from(monday.checked_add(5.days()).ok()?, 2));
    }
    if what == "night" && way < 0 {
        return Some(Span::days_from(now.yesterday().ok()?, 1));
    }
    match calendar::unit(what)? {
        Unit::Day => None,
        Unit::Week => {
            Some(Span::days_from(monday.checked_add(Stretch::new().try_weeks(way).ok()?).ok()?, 7))
        }
        Unit::Month => {
            let start =
                now.first_of_month().checked_add(Stretch::new().try_months(way).ok()?).ok()?;
            Some(Span::until(start, month_after(start)?))
        }
        Unit::Year => {
            let start =
                now.first_of_year().checked_add(Stretch::new().try_years(way).ok()?).ok()?;
            Some(Span::until(start, year_after(start)?))
        }
    }
}

fn month_after(start: Date) -> Option<Date> {
    start.first_of_month().checked_add(1.month()).ok()
}

fn year_after(start: Date) -> Option<Date> {
    start.first_of_year().checked_add(1.year()).ok()
}

fn previous(from: Date, weekday: Weekday) -> Option<Date> {
    from.nth_weekday(-1, weekday).ok()
}

fn following(from: Date, weekday: Weekday) -> Option<Date> {
    from.nth_weekday(1, weekday).ok()
}

fn year(word: &str) -> Option<i16> {
    let number: i16 = word.parse().ok()?;
    (word.len() == 4 && (1900..2100).contains(&number)).then_some(number)
}
