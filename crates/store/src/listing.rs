//! What every list query takes: a search, an order, a place to go on from, a size.

/// The largest number of rows a total is counted to.
pub const EXACT_TOTAL: i64 = 10_000;

/// The value of the sorted column in the row after which a page starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SortValue {
    /// For columns that hold text.
    Text(String),
    /// For columns that hold times, in milliseconds since 1970.
    Int(i64),
}

/// One page of a list, over the sort orders `S` of its table.
#[derive(Debug, Clone)]
pub struct Listing<S> {
    /// Part of the name, in the form of `name_key`; empty finds all.
    pub search: String,
    /// The column to order by.
    pub sort: S,
    /// Whether the order is descending.
    pub descending: bool,
    /// The sorted value and the id of the row after which the page starts.
    pub after: Option<(SortValue, String)>,
    /// The most rows to give.
    pub limit: i64,
}

impl<S> Listing<S> {
    pub(crate) fn pattern(&self) -> String {
        like_pattern(&self.search)
    }

    pub(crate) fn after_text(&self) -> Option<(&str, &str)> {
        match &self.after {
            Some((SortValue::Text(value), id)) => Some((value, id)),
            _ => None,
        }
    }

    pub(crate) fn after_int(&self) -> Option<(i64, &str)> {
        match &self.after {
            Some((SortValue::Int(value), id)) => Some((*value, id)),
            _ => None,
        }
    }
}

/// A LIKE pattern (with `\` as its escape) for rows that contain `text` literally. No row holds a NUL, at which SQLite
/// would take the pattern to end.
pub(crate) fn like_pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(if c == '\0' { '\u{FFFD}' } else { c });
    }
    pattern.push('%');
    pattern
}

#[derive(sqlx::FromRow)]
pub(crate) struct Count {
    pub(crate) n: i64,
}

#[cfg(test)]
mod tests {
    use super::like_pattern;

    #[test]
    fn wildcards_of_the_search_are_literal() {
        assert_eq!(like_pattern(r"50%_\"), r"%50\%\_\\%");
        assert_eq!(like_pattern("a\0b"), "%a\u{FFFD}b%");
    }
}
