//! Times and durations as people read them.

use std::fmt;

/// A moment: milliseconds since the Unix epoch, shown in UTC to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(pub(crate) i64);

impl Stamp {
    /// As the `datetime` attribute wants it: `2026-03-01T12:00:00.250Z`.
    pub(crate) fn machine(self) -> String {
        let (year, month, day) = self.date();
        let (hour, minute, second) = self.time();
        let milliseconds = self.0.rem_euclid(1000);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
    }

    /// The civil date of the day, by counting eras of 400 years from 0000-03-01, on which leap days come last
    /// in a year.
    fn date(self) -> (i64, i64, i64) {
        const DAYS_TO_EPOCH: i64 = 719_468;
        const DAYS_IN_ERA: i64 = 146_097;
        let days = self.0.div_euclid(86_400_000) + DAYS_TO_EPOCH;
        let (era, day_of_era) = (days.div_euclid(DAYS_IN_ERA), days.rem_euclid(DAYS_IN_ERA));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        (era * 400 + year_of_era + i64::from(month <= 2), month, day)
    }

    fn time(self) -> (i64, i64, i64) {
        let seconds = self.0.div_euclid(1000).rem_euclid(86_400);
        (seconds / 3600, seconds / 60 % 60, seconds % 60)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        let (hour, minute, second) = self.time();
        write!(
            formatter,
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC"
        )
    }
}

/// A duration in milliseconds: `184 ms`, `1.2 s`, `2 min 3 s`, `1 h 4 min`.
pub(crate) fn duration(milliseconds: i64) -> String {
    let seconds = milliseconds / 1000;
    match milliseconds {
        ..1000 => format!("{milliseconds} ms"),
        1000..60_000 => format!("{:.1} s", milliseconds as f64 / 1000.0),
        60_000..3_600_000 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_shown_in_utc() {
        assert_eq!(Stamp(0).to_string(), "1970-01-01 00:00:00 UTC");
        assert_eq!(Stamp(1_709_251_199_999).to_string(), "2024-02-29 23:59:59 UTC");
        assert_eq!(Stamp(1_709_251_200_000).to_string(), "2024-03-01 00:00:00 UTC");
        assert_eq!(Stamp(4_107_542_399_000).to_string(), "2100-02-28 23:59:59 UTC");
        assert_eq!(Stamp(4_107_542_400_000).to_string(), "2100-03-01 00:00:00 UTC");
        assert_eq!(Stamp(-1).to_string(), "1969-12-31 23:59:59 UTC");
        assert_eq!(Stamp(1_735_689_600_250).machine(), "2025-01-01T00:00:00.250Z");
    }

    #[test]
    fn durations_are_shown_in_the_unit_that_fits() {
        for (milliseconds, shown) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_234, "1.2 s"),
            (123_000, "2 min 3 s"),
            (3_840_000, "1 h 4 min"),
        ] {
            assert_eq!(duration(milliseconds), shown);
        }
    }
}
