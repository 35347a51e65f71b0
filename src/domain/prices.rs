//! What a model costs, and what a call costs by it.

use crate::error::{Error, Result};

/// The highest price that is taken for one, in micros for a million tokens.
const MAX_MICROS: i64 = 1_000_000_000_000;

/// What a million tokens cost, in millionths of the currency. Which currency that is only the operator knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Price {
    /// Those sent to the model; `None` where it is not known.
    pub input_micros: Option<i64>,
    /// Those it answers; `None` where it is not known.
    pub output_micros: Option<i64>,
}

impl Price {
    /// Whether anything is known.
    pub fn is_known(self) -> bool {
        self.input_micros.is_some() || self.output_micros.is_some()
    }

    /// Whether all of it is known.
    pub fn is_whole(self) -> bool {
        self.input_micros.is_some() && self.output_micros.is_some()
    }

    /// What such a call costs, in billionths of the currency; `None` where it has tokens whose price is not known.
    pub fn cost_nanos(self, input_tokens: i64, output_tokens: i64) -> Option<i64> {
        let part = |tokens: i64, micros: Option<i64>| match (tokens, micros) {
            (0, _) => Some(0),
            (_, None) => None,
            (tokens, Some(micros)) => Some(i128::from(tokens) * i128::from(micros)),
        };
        let sum = part(input_tokens, self.input_micros)? + part(output_tokens, self.output_micros)?;
        Some(i64::try_from(sum / 1000).unwrap_or(i64::MAX))
    }

    /// As it stands in the database. A row with another text was refused before, by its MAC.
    pub fn of_column(text: &str) -> Price {
        let (input, output) = text.split_once(',').unwrap_or_default();
        Price { input_micros: input.parse().ok(), output_micros: output.parse().ok() }
    }

    /// For the database.
    pub fn to_column(self) -> String {
        let word = |micros: Option<i64>| micros.map(|micros| micros.to_string()).unwrap_or_default();
        match self.is_known() {
            true => format!("{},{}", word(self.input_micros), word(self.output_micros)),
            false => String::new(),
        }
    }

    /// Lets a price through that can be one.
    ///
    /// # Errors
    /// [`Code::ValidationFailed`](crate::error::Code::ValidationFailed).
    pub fn check(self) -> Result<Price> {
        let check = |field: &'static str, micros: Option<i64>| match micros {
            Some(micros) if !(0..=MAX_MICROS).contains(&micros) => {
                Err(Error::field(field, "must be from 0 to 1,000,000 for a million tokens"))
            }
            _ => Ok(()),
        };
        let both = Error::both(
            check("input_price_micros", self.input_micros),
            check("output_price_micros", self.output_micros),
        );
        both.map(|_| self)
    }
}

/// A decimal number as micros: '2.5' is 2500000. `None` for what is none, or has more than six decimals.
pub fn parse_decimal(text: &str) -> Option<i64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && part.is_empty()) || part.len() > 6 || !is_digits(whole) || !is_digits(part) {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let micros: i64 = format!("{part:0<6}").parse().ok()?;
    whole.checked_mul(1_000_000)?.checked_add(micros)
}

/// Micros as a decimal number, with as few decimals as it has.
pub fn decimal(micros: i64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_costs_its_tokens_at_their_prices() {
        let price = Price { input_micros: Some(2_500_000), output_micros: Some(10_000_000) };
        assert_eq!(price.cost_nanos(1_000_000, 0), Some(2_500_000_000));
        assert_eq!(price.cost_nanos(9, 12), Some(22_500 + 120_000));
        assert_eq!(price.cost_nanos(i64::MAX, i64::MAX), Some(i64::MAX));
        let input_only = Price { output_micros: None, ..price };
        assert_eq!((input_only.cost_nanos(4, 0), input_only.cost_nanos(4, 1)), (Some(10_000), None));
        assert_eq!(Price::default().cost_nanos(0, 0), Some(0));
    }

    #[test]
    fn prices_are_stored_and_read_as_they_were() {
        for (input_micros, output_micros) in [(None, None), (Some(0), None), (None, Some(7)), (Some(1), Some(2))] {
            let price = Price { input_micros, output_micros };
            assert_eq!(Price::of_column(&price.to_column()), price);
        }
        assert!(Price { input_micros: Some(-1), output_micros: None }.check().is_err());
        assert!(Price { input_micros: None, output_micros: Some(MAX_MICROS + 1) }.check().is_err());
        assert!(Price { input_micros: Some(0), output_micros: Some(MAX_MICROS) }.check().is_ok());
    }

    #[test]
    fn decimals_are_read_and_written() {
        for (text, micros) in
            [("2.5", 2_500_000), ("0", 0), (".075", 75_000), ("10.", 10_000_000), ("3.000001", 3_000_001)]
        {
            assert_eq!(parse_decimal(text), Some(micros), "{text}");
            assert_eq!(parse_decimal(&decimal(micros)), Some(micros), "{text}");
        }
        for text in ["", ".", "-1", "1e3", "1,5", "0.0000001", "99999999999999999999", "1.2.3", " 1"] {
            assert_eq!(parse_decimal(text), None, "{text}");
        }
        assert_eq!((decimal(2_500_000), decimal(75_000), decimal(0)), ("2.5".into(), "0.075".into(), "0".into()));
    }
}
