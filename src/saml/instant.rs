//! SAML's times: `xs:dateTime` in UTC (SAML Core §1.3.3).
use crate::clock::Timestamp;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

/// Reads a time; fractions of a second are cut off. `None` for one that is not in UTC.
pub fn parse(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix('Z')?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let fits = whole.len() == 19 && !fraction.is_empty() && fraction.len() <= 20;
    if !fits || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    let bytes = whole.as_bytes();
    if !separators.iter().all(|(at, separator)| bytes[*at] == *separator) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| {
        let digits = &bytes[range];
        let add = |sum: u16, b: &u8| sum * 10 + u16::from(b - b'0');
        digits.iter().all(u8::is_ascii_digit).then(|| digits.iter().fold(0, add))
    };
    let small = |range| number(range).and_then(|n| u8::try_from(n).ok());
    let month = Month::try_from(small(5..7)?).ok()?;
    let date = Date::from_calendar_date(i32::from(number(0..4)?), month, small(8..10)?).ok()?;
    let time = Time::from_hms(small(11..13)?, small(14..16)?, small(17..19)?).ok()?;
    Some(Timestamp(PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp()))
}

/// Writes a time.
pub fn text(at: Timestamp) -> String {
    let at = OffsetDateTime::from_unix_timestamp(at.0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", at.hour(), at.minute(), at.second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utc_alone_is_read_and_what_is_written_is_read_again() {
        assert_eq!(parse("1970-01-01T00:00:01.999Z"), Some(Timestamp(1)));
        assert_eq!(parse("2026-02-28T23:59:59Z").map(text).as_deref(), Some("2026-02-28T23:59:59Z"));
        for bad in [
            "2026-02-30T00:00:00Z",
            "2026-02-28T23:59:59",
            "2026-02-28T23:59:59+00:00",
            "2026-02-28 23:59:59Z",
            "2026-02-28T24:00:00Z",
            "2026-02-28T23:59:60Z",
            "2026-02-28T23:59:59.Z",
            "+026-02-28T23:59:59Z",
            "2026-02-2\u{e9}T23:59:5Z",
            "",
            "Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
