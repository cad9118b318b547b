//! Spans of time as people write them on a command line: `500ms`, `90s`, `10m`, `1h30m`, `7d`.

use std::time::Duration;

/// What [`parse`] takes, in words.
const EXPECTED: &str = "expected numbers with their units (ms, s, m, h, d), such as 90s, 10m, 1h30m or 7d";

/// Reads a span of time: numbers, each with its unit, one after the other.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let mut millis = 0u64;
    let mut rest = text;
    if rest.is_empty() {
        return Err(EXPECTED.to_owned());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(EXPECTED)?;
        let number: u64 = rest[..digits].parse().map_err(|_| EXPECTED)?;
        let (unit, length) = unit(&rest[digits..]).ok_or(EXPECTED)?;
        millis = number
            .checked_mul(unit)
            .and_then(|more| millis.checked_add(more))
            .ok_or("longer than anybody can wait")?;
        rest = &rest[digits + length..];
    }
    Ok(Duration::from_millis(millis))
}

/// The unit at the beginning of a text: its milliseconds, and its length.
fn unit(text: &str) -> Option<(u64, usize)> {
    const SECOND: u64 = 1000;
    // The longer name first.
    [
        ("ms", 1),
        ("s", SECOND),
        ("m", 60 * SECOND),
        ("h", 60 * 60 * SECOND),
        ("d", 24 * 60 * 60 * SECOND),
    ]
    .into_iter()
    .find_map(|(name, millis)| text.starts_with(name).then_some((millis, name.len())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_its_numbers_times_their_units() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("90s", 90_000),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(parse(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for text in [
            "",
            "10",
            "m",
            "10 m",
            "-5m",
            "1.5h",
            "5w",
            "10m5",
            "99999999999999999999s",
            "9999999999999999d",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
