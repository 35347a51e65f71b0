//! Lists: which part of one was asked for, its order, and the links to its other parts.

use axum::{
    extract::{FromRequestParts, Query},
    http::request::Parts,
    response::Redirect,
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use url::form_urlencoded;

use super::failure::Failure;
use crate::{
    domain::paging::{DEFAULT_LIMIT, ListQuery, Page},
    error::{Code, Error},
};

/// A page's query. Parameters it does not know are passed over: a page never breaks on an address with more in it.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Params<T>, Failure> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Params(params)),
            Err(_) => Err(Error::new(Code::InvalidBody, "the address of this page cannot be read").into()),
        }
    }
}

/// Which part of a list.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ListParams {
    /// Part of the name.
    pub search: String,
    /// A filter: an agent key's status, a general key's health.
    pub status: String,
    /// A column, behind `-` for descending order.
    pub sort: String,
    /// Where a page goes on.
    pub cursor: String,
    /// How many rows stand before it; only to be told.
    #[serde(deserialize_with = "number_or_none")]
    pub from: u64,
    /// Of agent keys: a tag that they have.
    pub tag: String,
    /// Of the catalog: only this provider, with all its models.
    pub provider_id: String,
    /// Of a pop-up: `edit` where it was come to from the edit page.
    pub back: String,
    /// What was just done.
    pub done: String,
}

impl ListParams {
    /// As the domain takes it.
    pub fn query(&self) -> ListQuery {
        let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        ListQuery { search: some(&self.search), sort: some(&self.sort), limit: None, cursor: some(&self.cursor) }
    }

    /// The query that leads to this very part again; empty where it is the start of the whole list.
    pub fn here(&self) -> String {
        self.href("", &self.sort, &self.cursor, self.from)
    }

    /// Where a pop-up about `id` leads back to: the page it was come to from.
    pub fn behind_pop_up(&self, list: &str, id: &str) -> String {
        if self.back == "edit" { format!("{list}/{id}/edit") } else { format!("{list}{}", self.here()) }
    }

    /// The link that sorts by a column.
    pub fn column(&self, path: &str, name: &str, is_default: bool) -> Sort {
        let (descending, by) = match self.sort.strip_prefix('-') {
            Some(by) => (true, by),
            None => (false, self.sort.as_str()),
        };
        let order = match by == name || (by.is_empty() && is_default) {
            false => Order::None,
            true if descending => Order::Descending,
            true => Order::Ascending,
        };
        let next = if order == Order::Ascending { format!("-{name}") } else { name.to_owned() };
        Sort { href: self.href(path, &next, "", 0), order }
    }

    /// The list's start, where a page has lost its rows since its link was made.
    pub fn start_instead_of<T>(&self, path: &str, page: &Page<T>) -> Option<Redirect> {
        let is_lost = page.items.is_empty() && !self.cursor.is_empty();
        is_lost.then(|| Redirect::to(&self.href(path, &self.sort, "", 0)))
    }

    /// The links under a page of the list.
    pub fn pager<T>(&self, path: &str, page: &Page<T>) -> Pager {
        Pager::of(page, &self.cursor, self.from, |cursor, from| self.href(path, &self.sort, cursor, from))
    }

    fn href(&self, path: &str, sort: &str, cursor: &str, from: u64) -> String {
        let from = Some(from).filter(|from| *from > 0).map(|from| from.to_string()).unwrap_or_default();
        let pairs = [
            ("search", self.search.as_str()),
            ("status", self.status.as_str()),
            ("tag", self.tag.as_str()),
            ("provider_id", self.provider_id.as_str()),
            ("sort", sort),
            ("cursor", cursor),
            ("from", from.as_str()),
        ];
        href(path, &pairs)
    }
}

/// A number in an address; anything else counts as 0.
///
/// # Errors
/// None: the address was read as text already.
pub fn number_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(String::deserialize(deserializer)?.parse().unwrap_or(0))
}

/// A path with a query; empty values are left out.
pub fn href(path: &str, pairs: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs.iter().filter(|(_, value)| !value.is_empty()));
    match query.finish() {
        query if query.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

/// How a list is ordered by one column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Not by this one.
    #[default]
    None,
    /// A to Z, oldest first.
    Ascending,
    /// Z to A, newest first.
    Descending,
}

/// A sortable column's header.
#[derive(Clone, Debug, Default)]
pub struct Sort {
    /// This list by this column; by the other direction where it is the order already. Without a cursor.
    pub href: String,
    /// The order now.
    pub order: Order,
}

/// What stands under a list. Absent hrefs are not shown; a list that fits one page has none.
#[derive(Clone, Debug, Default)]
pub struct Pager {
    /// The number of its first row, from 1.
    pub start: u64,
    /// The number of its last row.
    pub end: u64,
    /// Rows in all that match.
    pub total: u64,
    /// False past 10,000: 'more than'.
    pub total_is_exact: bool,
    /// To the list's start.
    pub first: Option<String>,
    /// One page back, where known.
    pub previous: Option<String>,
    /// One page on.
    pub next: Option<String>,
}

impl Pager {
    /// Beneath a page that `cursor` led to, behind `from` rows; `href` makes the address of another one. Rows may come
    /// and go while somebody turns pages: the numbers never leave what there is.
    pub fn of<T>(page: &Page<T>, cursor: &str, from: u64, href: impl Fn(&str, u64) -> String) -> Pager {
        let (shown, total) = (page.items.len() as u64, u64::try_from(page.total).unwrap_or(0));
        let from = match (&page.previous_cursor, page.total_is_exact) {
            (None, _) => 0,
            (Some(_), true) => from.min(total.saturating_sub(shown)),
            (Some(_), false) => from,
        };
        let before = from.saturating_sub(DEFAULT_LIMIT.unsigned_abs());
        Pager {
            start: if shown == 0 { 0 } else { from + 1 },
            end: from + shown,
            total,
            total_is_exact: page.total_is_exact,
            first: (!cursor.is_empty()).then(|| href("", 0)),
            previous: page.previous_cursor.as_deref().map(|cursor| href(cursor, before)),
            next: page.next_cursor.as_deref().map(|cursor| href(cursor, from + shown)),
        }
    }

    /// Whether all there is stands on this page.
    pub fn is_whole(&self) -> bool {
        self.start <= 1 && self.end >= self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_keep_what_was_asked_for_and_escape_it() {
        let params = ListParams {
            search: String::from("50%_\"&é"),
            sort: String::from("name"),
            cursor: String::from("abc"),
            ..ListParams::default()
        };
        assert_eq!(params.here(), "?search=50%25_%22%26%C3%A9&sort=name&cursor=abc");
        let name = params.column("/keys/general", "name", true);
        assert_eq!(
            (name.href.as_str(), name.order),
            ("/keys/general?search=50%25_%22%26%C3%A9&sort=-name", Order::Ascending)
        );
        assert_eq!(params.column("/x", "updated_at", false).order, Order::None);
        assert_eq!(ListParams::default().column("/x", "name", true).order, Order::Ascending);
        assert_eq!(ListParams::default().here(), "");
        assert_eq!(params.behind_pop_up("/x", "1"), format!("/x{}", params.here()));
        let from_edit = ListParams { back: String::from("edit"), ..ListParams::default() };
        assert_eq!(from_edit.behind_pop_up("/x", "1"), "/x/1/edit");
    }

    #[test]
    fn a_pager_says_where_one_is() {
        let page = |items: usize, previous: Option<&str>, next: Option<&str>| Page {
            items: vec![(); items],
            next_cursor: next.map(str::to_owned),
            previous_cursor: previous.map(str::to_owned),
            total: 120,
            total_is_exact: true,
        };
        let at = |page: &Page<()>, cursor: &str, from| {
            Pager::of(page, cursor, from, |cursor, from| format!("{cursor}+{from}"))
        };
        let middle = at(&page(50, Some("p"), Some("n")), "c", 50);
        assert_eq!((middle.start, middle.end, middle.total), (51, 100, 120));
        assert_eq!(middle.previous.as_deref(), Some("p+0"));
        assert_eq!(middle.next.as_deref(), Some("n+100"));
        let start = at(&page(50, None, Some("n")), "c", 7);
        assert_eq!((start.start, start.end), (1, 50));
        let end = at(&page(20, Some("p"), None), "c", 9_999);
        assert_eq!((end.start, end.end, end.next), (101, 120, None));
    }
}
