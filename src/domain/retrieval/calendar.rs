//! Names of days, months, seasons and counts in English, German and French.

use jiff::civil::Weekday;

/// A unit of a distance in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Day,
    Week,
    Month,
    Year,
}

/// A month, by its name in lower case. Names that are also words need their capital.
pub(super) fn month(word: &str, capital: bool) -> Option<i8> {
    if matches!(word, "may" | "march" | "mar" | "mars" | "dec" | "jan") && !capital {
        return None;
    }
    Some(match word {
        "january" | "jan" | "januar" | "janvier" => 1,
        "february" | "feb" | "februar" | "février" => 2,
        "march" | "mar" | "märz" | "mars" => 3,
        "april" | "apr" | "avril" => 4,
        "may" | "mai" => 5,
        "june" | "jun" | "juni" | "juin" => 6,
        "july" | "jul" | "juli" | "juillet" => 7,
        "august" | "aug" | "août" => 8,
        "september" | "sep" | "sept" | "septembre" => 9,
        "october" | "oct" | "oktober" | "octobre" => 10,
        "november" | "nov" | "novembre" => 11,
        "december" | "dec" | "dezember" | "décembre" => 12,
        _ => return None,
    })
}

/// A weekday, by its name in lower case.
pub(super) fn weekday(word: &str) -> Option<Weekday> {
    Some(match word {
        "monday" | "montag" | "lundi" => Weekday::Monday,
        "tuesday" | "dienstag" | "mardi" => Weekday::Tuesday,
        "wednesday" | "mittwoch" | "mercredi" => Weekday::Wednesday,
        "thursday" | "donnerstag" | "jeudi" => Weekday::Thursday,
        "friday" | "freitag" | "vendredi" => Weekday::Friday,
        "saturday" | "samstag" | "sonnabend" | "samedi" => Weekday::Saturday,
        "sunday" | "sonntag" | "dimanche" => Weekday::Sunday,
        _ => return None,
    })
}

/// A day of a month: `8`, `8th`, `1er`.
pub(super) fn day(word: &str) -> Option<i8> {
    let end = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    let (digits, ending) = word.split_at_checked(end)?;
    let plain = matches!(ending, "" | "st" | "nd" | "rd" | "th" | "er");
    let number: i8 = digits.parse().ok()?;
    (plain && (1..=31).contains(&number)).then_some(number)
}

/// A number of units, in digits or as a word.
pub(super) fn count(word: &str) -> Option<i64> {
    if let Ok(number) = word.parse::<u16>() {
        return Some(i64::from(number));
    }
    Some(match word {
        "a" | "an" | "one" | "ein" | "eine" | "einem" | "einer" | "un" | "une" => 1,
        "two" | "couple" | "zwei" | "deux" => 2,
        "three" | "drei" | "trois" => 3,
        "four" | "vier" | "quatre" => 4,
        "five" | "fünf" | "cinq" => 5,
        "six" | "sechs" => 6,
        "seven" | "sieben" | "sept" => 7,
        "eight" | "acht" | "huit" => 8,
        "nine" | "neun" | "neuf" => 9,
        "ten" | "zehn" | "dix" => 10,
        _ => return None,
    })
}

/// A unit, in any number.
pub(super) fn unit(word: &str) -> Option<Unit> {
    Some(match word {
        "day" | "days" | "tag" | "tage" | "tagen" | "jour" | "jours" => Unit::Day,
        "week" | "weeks" | "woche" | "wochen" | "semaine" | "semaines" => Unit::Week,
        "month" | "months" | "monat" | "monate" | "monaten" | "mois" => Unit::Month,
        "year" | "years" | "jahr" | "jahre" | "jahren" | "an" | "ans" | "année" => Unit::Year,
        _ => return None,
    })
}

/// Days from today of a day that has a name of its own.
pub(super) fn near_day(word: &str) -> Option<i64> {
    Some(match word {
        "today" | "tonight" | "heute" | "aujourd" => 0,
        "yesterday" | "gestern" | "hier" => -1,
        "vorgestern" => -2,
        "tomorrow" | "demain" => 1,
        "übermorgen" => 2,
        _ => return None,
    })
}

/// Which way a word points from now: back, here or on.
pub(super) fn way(word: &str) -> Option<i64> {
    Some(match word {
        "last" | "past" | "previous" | "letzte" | "letzten" | "letzter" | "letztes" => -1,
        "this" | "diese" | "diesen" | "dieser" | "dieses" | "cette" | "ce" => 0,
        "next" | "coming" | "nächste" | "nächsten" | "nächster" | "nächstes" => 1,
        _ => return None,
    })
}

/// The first month of a season (of the northern half of the earth).
pub(super) fn season(word: &str) -> Option<i8> {
    Some(match word {
        "spring" | "frühling" | "printemps" => 3,
        "summer" | "sommer" | "été" => 6,
        "autumn" | "herbst" | "automne" => 9,
        "winter" | "hiver" => 12,
        _ => return None,
    })
}

/// Month and day of a feast that keeps its date.
pub(super) fn feast(word: &str) -> Option<(i8, i8)> {
    Some(match word {
        "christmas" | "weihnachten" | "noël" => (12, 25),
        "halloween" => (10, 31),
        "valentine" | "valentines" => (2, 14),
        "silvester" => (12, 31),
        _ => return None,
    })
}
