//! Charts: usage over time, as bars that the server draws, with the table of the same figures beneath.

use store::usage::Counts;

use super::{
    figures::{Figures, count, money},
    moment::Moment,
};
use crate::domain::usage::Period;

/// The measures of a chart, in its own units.
const WIDTH: f64 = 320.0;
const TOP: f64 = 16.0;
const HEIGHT: f64 = 72.0;
/// Between two bars, at most.
const GAP: f64 = 6.0;

/// Usage over time.
#[derive(Clone, Debug, Default)]
pub struct Charts {
    /// Which time it is, in words: 'the last 7 days'.
    pub period: &'static str,
    /// One for each figure.
    pub charts: Vec<Chart>,
    /// The table, the oldest first.
    pub rows: Vec<Row>,
    /// All of it.
    pub total: Figures,
    /// Whether there was a call at all.
    pub is_empty: bool,
    /// Whether a row is an hour.
    pub by_hour: bool,
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its start.
    pub start: Moment,
    /// '12 Jun', or '09:00'
    pub label: String,
    /// What was counted.
    pub figures: Figures,
}

/// A chart of one figure.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What it shows.
    pub title: &'static str,
    /// All of it, in words.
    pub total: String,
    /// What the darker part of each bar is, and how much that is of all: 'Errors'; empty without one.
    pub part: &'static str,
    /// How much that is in all.
    pub part_total: String,
    /// The class of that part.
    pub part_class: &'static str,
    /// The highest bar, in words.
    pub peak: String,
    /// The bars that have a height.
    pub bars: Vec<Bar>,
    /// The first and the last bar's time.
    pub ends: [String; 2],
}

/// A bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Where it begins.
    pub left: String,
    /// How wide it is.
    pub width: String,
    /// Its top, and its height.
    pub top: String,
    /// Its height.
    pub height: String,
    /// The top and the height of the part at its foot; `None` where there is none.
    pub part: Option<(String, String)>,
    /// What it says.
    pub tip: String,
}

impl Chart {
    /// The width of every chart.
    pub fn width(&self) -> f64 {
        WIDTH
    }

    /// Its height, with the words beneath.
    pub fn height(&self) -> f64 {
        TOP + HEIGHT + 16.0
    }

    /// Where the bars stand.
    pub fn floor(&self) -> f64 {
        TOP + HEIGHT
    }

    fn new(title: &'static str, values: &[(i64, i64)], labels: &[String], words: fn(i64) -> String) -> Chart {
        let most = values.iter().map(|(whole, _)| *whole).max().unwrap_or(0);
        let slot = WIDTH / values.len().max(1) as f64;
        let width = (slot - GAP.min(slot / 4.0)).min(28.0);
        // What there is shows, however little.
        let high = |value: i64| match value {
            0 => 0.0,
            value => (value as f64 * HEIGHT / most.max(1) as f64).max(1.5),
        };
        let at = |number: f64| format!("{number:.2}");
        let bars = (0..).zip(values.iter().zip(labels)).filter(|(_, ((whole, _), _))| *whole > 0);
        let bars = bars.map(|(place, ((whole, part), label))| {
            let (height, part_height) = (high(*whole), high(*part).min(high(*whole)));
            Bar {
                left: at(f64::from(place) * slot + (slot - width) / 2.0),
                width: at(width),
                top: at(TOP + HEIGHT - height),
                height: at(height),
                part: (*part > 0).then(|| (at(TOP + HEIGHT - part_height), at(part_height))),
                tip: format!("{label}: {}", words(*whole)),
            }
        });
        let sum = |of: fn(&(i64, i64)) -> i64| values.iter().map(of).fold(0_i64, i64::saturating_add);
        Chart {
            title,
            total: words(sum(|value| value.0)),
            part: "",
            part_total: words(sum(|value| value.1)),
            part_class: "chart-part",
            peak: words(most),
            bars: bars.collect(),
            ends: [labels.first().cloned().unwrap_or_default(), labels.last().cloned().unwrap_or_default()],
        }
    }
}

impl Charts {
    /// What was counted in a period, as of `now`.
    pub fn new(period: Period, counted: &[(i64, Counts)], now: i64) -> Charts {
        let by_hour = period.is_by_hour();
        let mut total = Counts::default();
        let mut rows = Vec::with_capacity(counted.len());
        for (start, counts) in counted {
            total.add(*counts);
            let start = Moment::new(*start, now);
            let label = match by_hour {
                true => start.iso.get(11..16).unwrap_or_default().to_owned(),
                false => start.date.rsplit_once(' ').map_or_else(String::new, |(day, _)| day.to_owned()),
            };
            rows.push(Row { start, label, figures: Figures::new(*counts) });
        }
        let labels: Vec<_> = rows.iter().map(|row| row.label.clone()).collect();
        let values = |of: fn(&Counts) -> (i64, i64)| counted.iter().map(|(_, counts)| of(counts)).collect::<Vec<_>>();
        let calls = values(|counts| (counts.requests, counts.errors));
        let tokens = values(|counts| (counts.input_tokens.saturating_add(counts.output_tokens), counts.output_tokens));
        let mut charts = vec![
            Chart { part: "failed", part_class: "chart-failed", ..Chart::new("Calls", &calls, &labels, count) },
            Chart { part: "output", ..Chart::new("Tokens", &tokens, &labels, count) },
        ];
        if total.cost_nanos > 0 {
            let cost = values(|counts| (counts.cost_nanos, 0));
            let chart = Chart::new("Cost", &cost, &labels, money);
            charts.push(Chart { total: Figures::new(total).cost.unwrap_or_default(), ..chart });
        }
        let figures = Figures::new(total);
        Charts { period: period.words(), charts, rows, total: figures, is_empty: total.requests == 0, by_hour }
    }
}

/// A spark line: the calls of each of a few days, as the points of a line; empty where there were none.
pub fn spark(days: &[i64]) -> String {
    const HIGH: f64 = 18.0;
    const STEP: f64 = 9.0;
    let most = days.iter().copied().max().unwrap_or(0);
    if most == 0 {
        return String::new();
    }
    let point = |(place, calls): (i32, &i64)| {
        format!("{:.1},{:.1}", 1.0 + f64::from(place) * STEP, 1.0 + HIGH - *calls as f64 * HIGH / most as f64)
    };
    (0..).zip(days).map(point).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_their_share_and_nothing_that_happened_is_invisible() {
        let of = |requests, errors| Counts { requests, errors, ..Counts::default() };
        let counted = [(0, of(1000, 500)), (86_400_000, of(1, 1)), (2 * 86_400_000, of(0, 0))];
        let charts = Charts::new(Period::Week, &counted, 0);
        let calls = &charts.charts[0];
        assert_eq!(calls.bars.len(), 2, "a day without calls has no bar");
        assert_eq!((calls.bars[0].height.as_str(), calls.bars[1].height.as_str()), ("72.00", "1.50"));
        assert_eq!(calls.bars[0].part.as_ref().map(|(_, height)| height.as_str()), Some("36.00"));
        assert_eq!((calls.total.as_str(), calls.part_total.as_str()), ("1,001", "501"));
        assert_eq!(calls.ends, ["1 Jan", "3 Jan"]);
        assert!(!charts.charts.iter().any(|chart| chart.title == "Cost"), "no price, no chart of costs");
        assert!(Charts::new(Period::Week, &[], 0).is_empty);
    }

    #[test]
    fn an_hour_is_told_by_its_time() {
        let counted = [(9 * 3_600_000, Counts::default())];
        assert_eq!(Charts::new(Period::Day, &counted, 0).rows[0].label, "09:00");
    }

    #[test]
    fn a_spark_line_has_a_point_a_day() {
        assert_eq!(spark(&[0, 2, 1]), "1.0,19.0 10.0,1.0 19.0,10.0");
        assert_eq!(spark(&[0, 0]), "");
    }
}
