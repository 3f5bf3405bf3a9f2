//! One date or stretch of days at the beginning of a text, seen from a day.

use jiff::{
    Span as Stretch, ToSpan as _,
    civil::{Date, Weekday},
};

use super::{
    calendar::{self, Unit},
    temporal::{Span, Token, moved, number},
};

/// Small words before a date that are skipped (count).
const SMALL_WORDS_MAX: usize = 2;

/// A date, a month, a year, a weekday, "yesterday", "last week", "the summer of 2022".
pub(super) fn simple(tokens: &[Token], now: Date) -> Option<(Span, usize)> {
    let skipped = |tokens: &[Token]| {
        let small = |token: &&Token| matches!(token.text.as_str(), "the" | "of");
        tokens.iter().take(SMALL_WORDS_MAX).take_while(small).count()
    };
    let skip = skipped(tokens);
    let rest = tokens.get(skip..)?;
    if let [week, of, rest @ ..] = rest
        && (week.text.as_str(), of.text.as_str()) == ("week", "of")
    {
        let more = skipped(rest);
        let (span, used) = exact(rest.get(more..)?, now).filter(|(span, _)| span.days() == 1)?;
        return Some((span.week(), skip + 2 + more + used));
    }
    exact(rest, now).map(|(span, used)| (span, used + skip))
}

fn exact(tokens: &[Token], now: Date) -> Option<(Span, usize)> {
    let first = tokens.first()?;
    let word = |at: usize| tokens.get(at).map(|token| token.text.as_str());
    match (first.text.as_str(), word(1), word(2)) {
        ("day", Some("before"), Some("yesterday")) => return near(now, -2).map(|span| (span, 3)),
        ("day", Some("after"), Some("tomorrow")) => return near(now, 2).map(|span| (span, 3)),
        _ => {}
    }
    if let Some(days) = calendar::near_day(&first.text) {
        return near(now, days).map(|span| (span, 1));
    }
    if let Some(way) = calendar::way(&first.text) {
        let count = word(1).and_then(calendar::count).filter(|_| way < 0);
        if let (Some(count), Some(unit)) = (count, word(2).and_then(calendar::unit)) {
            let start = moved(now, -count, unit)?;
            return Some((Span { from: start.from, to: number(now).saturating_add(1) }, 3));
        }
        return relative(way, word(1)?, now).map(|span| (span, 2));
    }
    numeric(tokens, now)
        .or_else(|| ideographic(tokens, now))
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
        .or_else(|| ordinal(first, now))
        .or_else(|| {
            let first_day = Date::new(year(&first.text)?, 1, 1).ok()?;
            Some((Span::until(first_day, year_after(first_day)?), 1))
        })
}

/// The day so many days from now.
fn near(now: Date, days: i64) -> Option<Span> {
    let day = now.checked_add(Stretch::new().try_days(days).ok()?).ok()?;
    Some(Span::days_from(day, 1))
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

/// 2023年5月8日, 2023年5月, 5月8日.
fn ideographic(tokens: &[Token], now: Date) -> Option<(Span, usize)> {
    let word = |at: usize| tokens.get(at).map(|token| token.text.as_str());
    let marked = |at: usize, mark: char| word(at).is_some_and(|word| word.starts_with(mark));
    let (stated, skip) = if marked(1, '年') { (Some(year(word(0)?)?), 2) } else { (None, 0) };
    if !marked(skip + 1, '月') {
        return None;
    }
    let month: i8 = word(skip)?.parse().ok()?;
    if !marked(skip + 3, '日') {
        let start = dated(stated, month, 1, now)?;
        return Some((Span::until(start, month_after(start)?), skip + 2));
    }
    let day = calendar::day(word(skip + 2)?)?;
    Some((Span::days_from(dated(stated, month, day, now)?, 1), skip + 4))
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

/// "the 15th", which was last.
fn ordinal(token: &Token, now: Date) -> Option<(Span, usize)> {
    let day = calendar::day(&token.text).filter(|_| token.text.ends_with(char::is_alphabetic))?;
    let this = Date::new(now.year(), now.month(), day).ok().filter(|date| *date <= now);
    let last = || {
        let before = now.first_of_month().yesterday().ok()?;
        Date::new(before.year(), before.month(), day).ok()
    };
    Some((Span::days_from(this.or_else(last)?, 1), 1))
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

pub(super) fn year_after(start: Date) -> Option<Date> {
    start.first_of_year().checked_add(1.year()).ok()
}

pub(super) fn previous(from: Date, weekday: Weekday) -> Option<Date> {
    from.nth_weekday(-1, weekday).ok()
}

pub(super) fn following(from: Date, weekday: Weekday) -> Option<Date> {
    from.nth_weekday(1, weekday).ok()
}

fn year(word: &str) -> Option<i16> {
    let number: i16 = word.parse().ok()?;
    (word.len() == 4 && (1900..2100).contains(&number)).then_some(number)
}
