//! The one place that reads the calendar; rules take what it says as an argument.

use jiff::{Timestamp, fmt::temporal::DateTimePrinter};

/// Microseconds since the Unix epoch.
#[must_use]
pub fn now_micros() -> i64 {
    Timestamp::now().as_microsecond()
}

/// Seconds since the Unix epoch.
#[must_use]
pub fn now_seconds() -> i64 {
    Timestamp::now().as_second()
}

/// RFC 3339 in UTC with microseconds and `Z`: `2026-11-20T10:33:05.276624Z`.
#[must_use]
pub fn rfc3339(micros: i64) -> String {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));
    let timestamp = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH);
    PRINTER.timestamp_to_string(&timestamp)
}

/// [`rfc3339`] of this moment.
#[must_use]
pub fn now_rfc3339() -> String {
    rfc3339(now_micros())
}

/// Reads RFC 3339, also without a zone (taken as UTC, as earlier generations wrote it).
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    text.parse::<Timestamp>()
        .ok()
        .or_else(|| {
            let civil: jiff::civil::DateTime = text.parse().ok()?;
            civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
        })
        .map(Timestamp::as_microsecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_utc_with_six_digits_and_reads_every_form_clients_send() {
        let micros = 1_795_170_785_276_624;
        assert_eq!(rfc3339(micros), "2026-11-20T10:33:05.276624Z");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000Z");
        for text in [
            "2026-11-20T10:33:05.276624Z",
            "2026-11-20T10:33:05.276624",
            "2026-11-20T12:33:05.276624+02:00",
        ] {
            assert_eq!(parse(text), Some(micros), "{text}");
        }
        assert_eq!(parse("yesterday"), None);
    }
}
