//! Points in time, as pages show them.

use jiff::Timestamp;

use crate::domain::clock::rfc3339;

/// A point in time, in the forms a page needs; the script makes them local and keeps `relative` true.
#[derive(Clone, Debug, Default)]
pub struct Moment {
    /// RFC 3339 in UTC, for `<time datetime>`.
    pub iso: String,
    /// '12 Jun 2026'
    pub date: String,
    /// '12 Jun 2026, 09:41:07 UTC'
    pub exact: String,
    /// '9 days ago', 'in 3 months', 'just now'
    pub relative: String,
}

impl Moment {
    /// The time `ms` (milliseconds since 1970), seen from `now`.
    pub fn new(ms: i64, now: i64) -> Moment {
        let time = Timestamp::from_millisecond(ms).unwrap_or_default();
        Moment {
            iso: rfc3339(ms),
            date: time.strftime("%-d %b %Y").to_string(),
            exact: time.strftime("%-d %b %Y, %H:%M:%S UTC").to_string(),
            relative: relative((ms - now) / 1000),
        }
    }

    /// The time of a column that holds 0 where there is none.
    pub fn of_column(ms: i64, now: i64) -> Option<Moment> {
        (ms > 0).then(|| Moment::new(ms, now))
    }
}

/// The words the script uses as well, so that a page does not change when it takes over.
fn relative(seconds: i64) -> String {
    const UNITS: [(&str, i64); 5] =
        [("year", 31_557_600), ("month", 2_629_800), ("day", 86_400), ("hour", 3_600), ("minute", 60)];
    let away = seconds.abs();
    let Some((unit, size)) = UNITS.into_iter().find(|(_, size)| away >= *size) else {
        return String::from("just now");
    };
    let count = away / size;
    let plural = if count == 1 { "" } else { "s" };
    if seconds < 0 { format!("{count} {unit}{plural} ago") } else { format!("in {count} {unit}{plural}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_the_script_s() {
        let moment = Moment::new(1_781_257_267_000, 1_781_257_267_000 + 9 * 86_400_000);
        assert_eq!(moment.iso, "2026-06-12T09:41:07.000Z");
        assert_eq!(moment.date, "12 Jun 2026");
        assert_eq!(moment.exact, "12 Jun 2026, 09:41:07 UTC");
        assert_eq!(moment.relative, "9 days ago");
        assert_eq!(relative(0), "just now");
        assert_eq!(relative(-59), "just now");
        assert_eq!(relative(60), "in 1 minute");
        assert_eq!(relative(89 * 86_400), "in 2 months");
        assert_eq!(relative(-2 * 31_557_600), "2 years ago");
        assert_eq!(Moment::of_column(0, 5).map(|moment| moment.iso), None);
    }
}
