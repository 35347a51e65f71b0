//! Parameters of a query: the one that names the model, and those that would be a credential of the caller's own.

use std::{borrow::Cow, ops::Range};

use crate::error::{Code, Error, Result};

/// The one parameter of a query that has some name.
pub struct Parameter<'q> {
    /// Its value, unescaped.
    pub value: Cow<'q, str>,
    /// Where the value stands in the query, as it was written.
    at: Range<usize>,
}

impl<'q> Parameter<'q> {
    /// Finds it. Whatever a provider could take for the same name counts as well.
    ///
    /// # Errors
    /// [`Code::InvalidBody`] where there is none, more than one, or one that is spelt otherwise.
    pub fn only(query: &'q str, name: &str) -> Result<Parameter<'q>> {
        let refused =
            |what: &str| Error::new(Code::InvalidBody, format!("the query {what} `{name}`; it names the model"));
        let mut found = None;
        let mut start = 0;
        // Some servers take a semicolon for an ampersand.
        for part in query.split(['&', ';']) {
            let (written, value) = part.split_once('=').unwrap_or((part, ""));
            if unescaped(written).trim().eq_ignore_ascii_case(name) {
                if found.is_some() || written != name {
                    return Err(refused("has more than one, or another spelling, of"));
                }
                let at = start + part.len() - value.len()..start + part.len();
                found = Some(Parameter { value: unescaped(value), at });
            }
            start += part.len() + 1;
        }
        found.ok_or_else(|| refused("has no"))
    }

    /// The query with another value for it, which is escaped already.
    pub fn replaced(&self, query: &str, value: &str) -> String {
        format!("{}{value}{}", &query[..self.at.start], &query[self.at.end..])
    }
}

/// Parameters that providers take for a credential.
const CREDENTIALS: [&str; 7] =
    ["key", "api_key", "api-key", "apikey", "access_token", "oauth_token", "subscription-key"];

/// The query without what a provider could take for a credential: whose key pays is decided here, not by the caller.
pub fn without_credentials(query: &str) -> Cow<'_, str> {
    let passes = |part: &&str| {
        let name = unescaped(part.split_once('=').map_or(*part, |(name, _)| name));
        !CREDENTIALS.iter().any(|credential| name.trim().eq_ignore_ascii_case(credential))
    };
    if query.split(['&', ';']).all(|part| passes(&part)) {
        return Cow::Borrowed(query);
    }
    Cow::Owned(query.split(['&', ';']).filter(passes).collect::<Vec<_>>().join("&"))
}

/// A name or value of a query, in which a plus stands for a space.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_the_callers_own_stay_here() {
        for (query, passes) in [
            ("", ""),
            ("alt=sse&api-version=2024-10-21", "alt=sse&api-version=2024-10-21"),
            ("alt=sse&key=AIza&x", "alt=sse&x"),
            ("Key=1;k%65y=2&access_token&+api_key=3", ""),
            ("monkey=1&keys=2", "monkey=1&keys=2"),
        ] {
            assert_eq!(without_credentials(query), passes, "{query}");
        }
    }

    #[test]
    fn the_one_model_of_a_query_is_found_and_replaced_where_it_stands() {
        for (query, value, replaced) in [
            ("model=a", "a", "model=b%20c/d"),
            ("x=1&model=a%2Fb+c&y=%20&z", "a/b c", "x=1&model=b%20c/d&y=%20&z"),
            ("models=1;model=&amodel=2", "", "models=1;model=b%20c/d&amodel=2"),
        ] {
            let model = Parameter::only(query, "model").expect(query);
            assert_eq!((&*model.value, &*model.replaced(query, "b%20c/d")), (value, replaced), "{query}");
        }
        for query in
            ["", "x=model", "model=a&model=a", "model=a;model=b", "Model=a", "model=a&mode%6C=b", "model=a&+MODEL"]
        {
            assert!(Parameter::only(query, "model").is_err(), "{query}");
        }
    }
}
