//! Numbers, as pages show them.

use store::usage::Counts;

use crate::domain::usage;

/// A count with its thousands apart: '1,344,593'.
pub fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if number < 0 {
        text.push('-');
    }
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// An amount of the operator's currency: two decimals, and four where it is less than one.
pub fn money(nanos: i64) -> String {
    const UNIT: i64 = 1_000_000_000;
    match nanos {
        0 => String::from("0"),
        1..100_000 => String::from("< 0.0001"),
        100_000..UNIT => format!("0.{:04}", nanos / 100_000),
        _ => format!("{}.{:02}", count(nanos / UNIT), nanos % UNIT / 10_000_000),
    }
}

/// What was counted, in words.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Calls
    pub calls: String,
    /// Errors
    pub errors: String,
    /// Of which the provider's or ours with 5xx, and those with 4xx: '3 × 4xx, 1 × 5xx, 2 cut short'; empty without errors.
    pub classes: String,
    /// Input tokens
    pub input: String,
    /// Output tokens
    pub output: String,
    /// What they cost; `None` where no price is known.
    pub cost: Option<String>,
    /// The mean time to an answer's head, in milliseconds; empty without calls.
    pub wait: String,
}

impl Figures {
    /// These counts.
    pub fn new(counts: Counts) -> Figures {
        let parts = [
            (counts.client_errors, "4xx"),
            (counts.server_errors, "5xx"),
            (counts.errors - counts.client_errors - counts.server_errors, "cut short"),
        ];
        let named = parts.iter().filter(|(number, _)| *number > 0);
        let classes: Vec<_> = named.map(|(number, name)| format!("{} {name}", count(*number))).collect();
        let over = if counts.unpriced > 0 { "over " } else { "" };
        Figures {
            calls: count(counts.requests),
            errors: count(counts.errors),
            classes: classes.join(", "),
            input: count(counts.input_tokens),
            output: count(counts.output_tokens),
            cost: usage::cost_micros(counts).map(|_| format!("{over}{}", money(counts.cost_nanos))),
            wait: match counts.requests {
                0 => String::new(),
                calls => format!("{} ms", count(counts.wait_ms / calls)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        let counted = [0, 7, 999, 1000, 1_344_593, -1_000].map(count);
        assert_eq!(counted, ["0", "7", "999", "1,000", "1,344,593", "-1,000"]);
        let amounts = [0, 1, 99_999, 100_000, 42_000_000, 999_999_999, 1_000_000_000, 12_345_678_900_000].map(money);
        assert_eq!(amounts, ["0", "< 0.0001", "< 0.0001", "0.0001", "0.0420", "0.9999", "1.00", "12,345.67"]);
    }

    #[test]
    fn a_cost_says_what_is_not_known_of_it() {
        let counts =
            Counts { requests: 4, errors: 3, client_errors: 1, server_errors: 1, wait_ms: 10, ..Counts::default() };
        let none = Figures::new(counts);
        assert_eq!((none.cost.as_deref(), none.classes.as_str()), (Some("0"), "1 4xx, 1 5xx, 1 cut short"));
        assert_eq!(none.wait, "2 ms");
        let unknown = Figures::new(Counts { unpriced: 2, ..counts });
        assert_eq!(unknown.cost, None);
        let part = Figures::new(Counts { unpriced: 2, cost_nanos: 5_000_000_000, ..counts });
        assert_eq!(part.cost.as_deref(), Some("over 5.00"));
        assert_eq!(Figures::new(Counts::default()).wait, "");
    }
}
