//! Tables for spreadsheets: RFC 4180, in which no cell is a formula.

/// The media type.
pub const MEDIA_TYPE: &str = "text/csv; charset=utf-8";

/// Text as a cell, with its quotes. What a spreadsheet would take for a formula begins with an apostrophe, which it takes for text.
pub fn cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    format!("\"{}{}\"", if is_formula { "'" } else { "" }, text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_a_formula_in_a_spreadsheet() {
        for (name, written) in [
            ("plain", "\"plain\""),
            ("a \"b\", c", "\"a \"\"b\"\", c\""),
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
        ] {
            assert_eq!(cell(name), written);
        }
    }
}
