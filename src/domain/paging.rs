//! Pages of lists: what was asked for, and the cursor that goes on from a page's last row.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use store::{EXACT_TOTAL, Listing, SortValue, Standing};
use vault::Keyring;

use super::name;
use crate::error::{Error, Result};

/// The default and the largest number of rows of a page.
pub const DEFAULT_LIMIT: i64 = 50;
/// See [`DEFAULT_LIMIT`].
pub const MAX_LIMIT: i64 = 200;

/// A list as it was asked for.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// Part of the name.
    pub search: Option<String>,
    /// A column, behind `-` for descending order.
    pub sort: Option<String>,
    /// Rows a page.
    pub limit: Option<i64>,
    /// Where to go on.
    pub cursor: Option<String>,
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Goes on behind the last row; `None` at the end.
    pub next_cursor: Option<String>,
    /// Leads to the rows before the first one; `None` at the start.
    pub previous_cursor: Option<String>,
    /// How many rows match.
    pub total: i64,
    /// Whether `total` was counted to its end.
    pub total_is_exact: bool,
}

impl<R> Page<Standing<R>> {
    /// Without the damaged rows.
    pub fn untouched(self) -> Page<R> {
        let Page { items, next_cursor, previous_cursor, total, total_is_exact } = self;
        let items = items.into_iter().filter(|one| !one.is_damaged).map(|one| one.row).collect();
        Page { items, next_cursor, previous_cursor, total, total_is_exact }
    }
}

/// A total as counted (up to one more than [`EXACT_TOTAL`]), and whether it is exact.
pub fn total(counted: i64) -> (i64, bool) {
    (counted.min(EXACT_TOTAL), counted <= EXACT_TOTAL)
}

/// A table's sort orders: their names, and whether their column holds text.
pub struct Sorts<S: 'static> {
    /// `(name, order, holds text)`; the first is the default.
    pub all: &'static [(&'static str, S, bool)],
    /// Whether the default order is descending.
    pub default_descending: bool,
}

/// Which list a page is part of, and how the page was come to.
pub struct Scope {
    name: String,
    way: Way,
}

/// How a page was come to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// From nowhere: it is the first one.
    Start,
    /// From the one before it.
    Forward,
    /// From the one behind it; its rows are read from the last to the first.
    Backward,
}

impl Scope {
    /// The list called `name`, at the place a cursor leads to, if one is given.
    ///
    /// # Errors
    /// A cursor that is none of this list's.
    pub fn at(
        name: String,
        cursor: Option<&str>,
        is_text: bool,
        keyring: &Keyring,
    ) -> Result<(Scope, Option<(SortValue, String)>)> {
        let Some(cursor) = cursor.filter(|cursor| !cursor.is_empty()) else {
            return Ok((Scope { name, way: Way::Start }, None));
        };
        if let Ok(place) = decode_cursor(cursor, &backwards(&name), is_text, keyring) {
            return Ok((Scope { name, way: Way::Backward }, Some(place)));
        }
        let place = decode_cursor(cursor, &name, is_text, keyring)?;
        Ok((Scope { name, way: Way::Forward }, Some(place)))
    }

    /// Whether the page's rows are to be read from the last to the first.
    pub fn is_backward(&self) -> bool {
        self.way == Way::Backward
    }
}

/// The scope of cursors that lead to what stands before them.
fn backwards(name: &str) -> String {
    format!("{name}<")
}

/// What a listing needs besides the query: the table's orders, and its name for the cursor.
pub fn listing<S: Copy>(
    query: &ListQuery,
    table: &str,
    sorts: &Sorts<S>,
    keyring: &Keyring,
) -> Result<(Listing<S>, Scope)> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Error::parameter("limit", format!("must be from 1 to {MAX_LIMIT}")));
    }
    let (descending, name) = match query.sort.as_deref() {
        None | Some("") => (sorts.default_descending, sorts.all[0].0),
        Some(sort) => match sort.strip_prefix('-') {
            Some(name) => (true, name),
            None => (false, sort),
        },
    };
    let Some((name, sort, is_text)) = sorts.all.iter().find(|(known, _, _)| *known == name) else {
        let known: Vec<_> = sorts.all.iter().map(|(name, _, _)| *name).collect();
        return Err(Error::parameter(
            "sort",
            format!("must be one of {}, with - before it for descending order", known.join(", ")),
        ));
    };
    let scope = format!("{table}:{}{name}", if descending { "-" } else { "" });
    let (scope, after) = Scope::at(scope, query.cursor.as_deref(), *is_text, keyring)?;
    let descending = descending != scope.is_backward();
    let search = query.search.as_deref().unwrap_or_default();
    if search.chars().count() > 1000 {
        return Err(Error::parameter("search", "must have at most 1000 characters"));
    }
    let listing = Listing { search: name::fold(search.trim()), sort: *sort, descending, after, limit: limit + 1 };
    Ok((listing, scope))
}

/// Cuts the one row too many that tells whether the list goes on, and makes the cursors to both sides.
pub fn page<T>(
    mut items: Vec<T>,
    limit_and_one: i64,
    counted: i64,
    scope: &Scope,
    keyring: &Keyring,
    place: impl Fn(&T) -> (SortValue, String),
) -> Page<T> {
    let limit = usize::try_from(limit_and_one - 1).unwrap_or(0);
    let more = items.len() > limit;
    items.truncate(limit);
    // Whoever comes from a page can go back to it.
    let (goes_back, goes_on) = match scope.way {
        Way::Start => (false, more),
        Way::Forward => (true, more),
        Way::Backward => (more, true),
    };
    if scope.is_backward() {
        items.reverse();
    }
    let cursor = |row: &T, scope: &str| {
        let (value, id) = place(row);
        encode_cursor(&value, &id, scope, keyring)
    };
    let next_cursor = items.last().filter(|_| goes_on).map(|last| cursor(last, &scope.name));
    let previous_cursor = items.first().filter(|_| goes_back).map(|first| cursor(first, &backwards(&scope.name)));
    let (total, total_is_exact) = total(counted);
    Page { items, next_cursor, previous_cursor, total, total_is_exact }
}

/// The cursor behind a row of the list `scope`: its sorted value and id, with a MAC so that nobody makes one up.
fn encode_cursor(value: &SortValue, id: &str, scope: &str, keyring: &Keyring) -> String {
    let value = match value {
        SortValue::Text(text) => text.clone(),
        SortValue::Int(number) => number.to_string(),
    };
    let body = format!("{id}\n{value}");
    let mut bytes = cursor_mac(scope, &body, keyring)[..12].to_vec();
    bytes.extend_from_slice(body.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a cursor of the list `scope` back.
fn decode_cursor(cursor: &str, scope: &str, is_text: bool, keyring: &Keyring) -> Result<(SortValue, String)> {
    let refused = || Error::parameter("cursor", "must be a next_cursor of this list, with the same sort");
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| refused())?;
    let (mac, body) = bytes.split_at_checked(12).ok_or_else(refused)?;
    let body = std::str::from_utf8(body).map_err(|_| refused())?;
    verify_slices_are_equal(mac, &cursor_mac(scope, body, keyring)[..12]).map_err(|_| refused())?;
    let (id, value) = body.split_once('\n').ok_or_else(refused)?;
    let value =
        if is_text { SortValue::Text(value.to_owned()) } else { SortValue::Int(value.parse().map_err(|_| refused())?) };
    Ok((value, id.to_owned()))
}

fn cursor_mac(scope: &str, body: &str, keyring: &Keyring) -> [u8; 32] {
    keyring.session_mac(format!("cursor\n{scope}\n{body}").as_bytes())
}
