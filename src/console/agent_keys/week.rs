//! An agent key's last seven days: a chart, and the table beneath it.

use store::usage::Counts;

use crate::console::moment::Moment;

/// How many days are shown.
pub const DAYS: i64 = 7;

/// The chart's measures, in its own units.
const SLOT: i64 = 44;
const BAR: i64 = 24;
const TOP: i64 = 20;
const HEIGHT: i64 = 96;

/// The days, and the bars of those that have calls.
#[derive(Clone, Debug, Default)]
pub struct Week {
    /// The oldest first.
    pub days: Vec<Day>,
    /// Calls in all.
    pub calls: i64,
    /// Calls that failed in all.
    pub errors: i64,
}

/// One day, in UTC.
#[derive(Clone, Debug, Default)]
pub struct Day {
    /// Its start.
    pub start: Moment,
    /// '12 Jun'
    pub label: String,
    /// What was counted.
    pub counts: Counts,
    /// Where the middle of its bar is.
    pub middle: i64,
    /// Where its bar begins.
    pub left: i64,
    /// The top of the part that stands for all calls.
    pub top: i64,
    /// How high that is.
    pub height: i64,
    /// How high the part at its foot is that stands for failed ones.
    pub failed_height: i64,
}

impl Week {
    /// The days as counted, as of `now`.
    pub fn new(counted: Vec<(i64, Counts)>, now: i64) -> Week {
        let most = counted.iter().map(|(_, counts)| counts.requests).max().unwrap_or(0);
        let calls = counted.iter().map(|(_, counts)| counts.requests).sum();
        let errors = counted.iter().map(|(_, counts)| counts.errors).sum();
        let days = (0..).zip(counted).map(|(at, (start, counts))| Day::new(at, start, counts, most, now)).collect();
        Week { days, calls, errors }
    }

    /// The chart's width.
    pub fn width(&self) -> i64 {
        SLOT * DAYS
    }

    /// Its height with the labels.
    pub fn height(&self) -> i64 {
        self.floor() + 20
    }

    /// Where the bars stand.
    pub fn floor(&self) -> i64 {
        TOP + HEIGHT
    }

    /// A bar's width.
    pub fn bar(&self) -> i64 {
        BAR
    }
}

impl Day {
    fn new(at: i64, start: i64, counts: Counts, most: i64, now: i64) -> Day {
        let start = Moment::new(start, now);
        // What there is shows, however little.
        let high = |count: i64| if count == 0 { 0 } else { (count * HEIGHT / most.max(1)).max(2) };
        let height = high(counts.requests);
        let middle = at * SLOT + SLOT / 2;
        Day {
            label: start.date.rsplit_once(' ').map_or_else(String::new, |(day, _)| day.to_owned()),
            start,
            middle,
            left: middle - BAR / 2,
            top: TOP + HEIGHT - height,
            height,
            failed_height: high(counts.errors).min(height),
            counts,
        }
    }

    /// Where the part for failed calls begins.
    pub fn failed_top(&self) -> i64 {
        TOP + HEIGHT - self.failed_height
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_their_share_and_nothing_that_happened_is_invisible() {
        let day = |requests, errors| (0, Counts { requests, errors, ..Counts::default() });
        let week = Week::new(vec![day(1000, 500), day(1, 1), day(0, 0)], 0);
        let heights: Vec<_> = week.days.iter().map(|day| (day.height, day.failed_height)).collect();
        assert_eq!(heights, [(HEIGHT, HEIGHT / 2), (2, 2), (0, 0)]);
        assert_eq!((week.calls, week.errors), (1001, 501));
        assert_eq!(week.days[0].label, "1 Jan");
        assert!(week.days.iter().all(|day| day.top + day.height == week.floor()));
    }
}
