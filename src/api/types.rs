//! The representations that several resources share.

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use utoipa::{IntoParams, ToSchema};

use crate::domain::{
    links::LinkedTo,
    paging::{ListQuery, Page},
};

/// Who created something.
#[derive(Serialize, ToSchema)]
pub struct CreatedBy {
    /// The member's or the management token's id.
    pub id: String,
    /// Their name.
    pub name: String,
}

/// What a general key is linked to.
#[derive(Serialize, ToSchema)]
pub struct Link {
    /// `provider` or `model`.
    #[schema(example = "provider")]
    kind: String,
    /// Its id.
    id: String,
    /// Its name.
    name: String,
}

impl From<LinkedTo> for Link {
    fn from(link: LinkedTo) -> Link {
        Link { kind: link.kind, id: link.id, name: link.name }
    }
}

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Part of the name, in any case.
    pub search: Option<String>,
    /// A column to order by, behind `-` for descending order.
    pub sort: Option<String>,
    /// Rows a page, from 1 to 200; 50 where absent.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<i64>,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl From<ListParams> for ListQuery {
    fn from(params: ListParams) -> ListQuery {
        ListQuery { search: params.search, sort: params.sort, limit: params.limit, cursor: params.cursor }
    }
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub struct List<T> {
    /// The rows.
    items: Vec<T>,
    /// Send it as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
    /// How many rows match, counted up to 10,000.
    total: i64,
    /// Whether `total` is exact.
    total_is_exact: bool,
}

impl<T> List<T> {
    /// Renders a page.
    pub fn of<D>(page: Page<D>, render: impl FnMut(D) -> T) -> Json<List<T>> {
        Json(List {
            items: page.items.into_iter().map(render).collect(),
            next_cursor: page.next_cursor,
            total: page.total,
            total_is_exact: page.total_is_exact,
        })
    }
}

/// A resource with its ETag; newly made, with its location as well.
pub struct Resource<T> {
    body: T,
    version: i64,
    location: Option<String>,
    has_secret: bool,
}

impl<T> Resource<T> {
    /// A resource as it is.
    pub fn read(body: T, version: i64) -> Resource<T> {
        Resource { body, version, location: None, has_secret: false }
    }

    /// A resource that was made: 201 with its location.
    pub fn created(body: T, version: i64, location: String) -> Resource<T> {
        Resource { body, version, location: Some(location), has_secret: false }
    }

    /// Never to be kept by anybody on the way.
    pub fn with_secret(self) -> Resource<T> {
        Resource { has_secret: true, ..self }
    }
}

impl<T: Serialize> IntoResponse for Resource<T> {
    fn into_response(self) -> Response {
        let status = if self.location.is_some() { StatusCode::CREATED } else { StatusCode::OK };
        let mut response = (status, Json(self.body)).into_response();
        let mut set = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        };
        set(header::ETAG, &format!("\"{}\"", self.version));
        if let Some(location) = &self.location {
            set(header::LOCATION, location);
        }
        if self.has_secret {
            set(header::CACHE_CONTROL, "no-store");
        }
        response
    }
}

/// Tells a field that is null from one that is absent.
///
/// # Errors
/// What the field's own type says.
pub fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

/// A field that may be absent, and not null.
///
/// # Errors
/// What the field's own type says, null included.
pub fn not_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// An object within a body. What is described as one is not taken as an array of its fields in their order.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<T>, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Reader(PhantomData))
    }
}

/// An object that may be absent, and not null.
///
/// # Errors
/// What the object's own type says, null included.
pub fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Object::deserialize(deserializer).map(|Object(value)| Some(value))
}

/// An object that may be absent or null.
///
/// # Errors
/// What the object's own type says.
pub fn object_or_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer).map(|object: Option<Object<T>>| object.map(|Object(value)| value))
}

/// Objects.
///
/// # Errors
/// What the objects' own type says.
pub fn objects<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Vec::deserialize(deserializer).map(within)
}

/// Objects that may be absent, and not null.
///
/// # Errors
/// What the objects' own type says, null included.
pub fn some_objects<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    objects(deserializer).map(Some)
}

/// Objects that may be absent or null.
///
/// # Errors
/// What the objects' own type says.
pub fn objects_or_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    Option::deserialize(deserializer).map(|objects| objects.map(within))
}

/// Objects, told apart where they are null and where they are absent.
///
/// # Errors
/// What the objects' own type says.
pub fn present_objects<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<Vec<T>>>, D::Error> {
    Option::deserialize(deserializer).map(|objects| Some(objects.map(within)))
}

fn within<T>(objects: Vec<Object<T>>) -> Vec<T> {
    objects.into_iter().map(|Object(value)| value).collect()
}
