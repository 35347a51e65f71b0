//! `/docs`: the management API's description, readable.

use askama::Template;
use axum::{
    extract::State as AxumState,
    response::{Html, IntoResponse, Response},
};
use serde_json::Value;

use super::{State, assets::ASSET_VERSION};
use crate::error::Code;

/// How deep the fields of a body are listed.
const MAX_DEPTH: usize = 3;

/// `GET /docs`, without sign-in: the OpenAPI document, readable.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "docs.html")]
pub struct DocsPage {
    /// 'Keyward API'
    pub title: String,
    /// Of the API.
    pub version: String,
    /// HTML, in paragraphs.
    pub description: String,
    /// By tag.
    pub groups: Vec<DocsGroup>,
}

/// The operations of one tag.
#[derive(Clone, Debug, Default)]
pub struct DocsGroup {
    /// Anchor: letters, digits and dashes, unique on the page.
    pub id: String,
    /// Its title.
    pub name: String,
    /// HTML; may be empty.
    pub description: String,
    /// In the document's order.
    pub operations: Vec<DocsOperation>,
}

/// One method on one path.
#[derive(Clone, Debug, Default)]
pub struct DocsOperation {
    /// Anchor, unique on the page.
    pub id: String,
    /// `POST`
    pub method: String,
    /// `/api/v1/agent-keys/{id}/disable`
    pub path: String,
    /// One line.
    pub summary: String,
    /// HTML, in paragraphs; may be empty.
    pub description: String,
    /// Of path, query and headers.
    pub parameters: Vec<DocsField>,
    /// Of the request's body; `in_` is empty.
    pub request: Vec<DocsField>,
    /// By status.
    pub responses: Vec<DocsResponse>,
}

/// A parameter or a field of a body.
#[derive(Clone, Debug, Default)]
pub struct DocsField {
    /// Its name; nested ones by path: `created_by.name`.
    pub name: String,
    /// `path`, `query`, `header`, or empty.
    pub in_: String,
    /// `string`, `integer`, `array of Link`, `string or null`
    pub type_: String,
    /// Must be sent.
    pub required: bool,
    /// HTML; may be empty.
    pub description: String,
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct DocsResponse {
    /// `201`
    pub status: String,
    /// HTML.
    pub description: String,
    /// The fields of its body.
    pub fields: Vec<DocsField>,
}

/// `GET /docs`
pub async fn page(AxumState(state): AxumState<State>) -> Response {
    Html(state.docs.to_string()).into_response()
}

/// Renders the page once, from an OpenAPI description in JSON.
pub fn render(description: &str) -> String {
    let description: Value = serde_json::from_str(description).unwrap_or_default();
    let page = Reader(&description).page();
    page.render().unwrap_or_else(|error| {
        tracing::error!(%error, "the page of the API's description cannot be rendered");
        String::new()
    })
}

/// The stable codes of errors, each at the anchor that a problem's `type` names.
fn errors() -> DocsGroup {
    let operations = Code::ALL.iter().map(|code| DocsOperation {
        id: code.as_str().to_owned(),
        method: code.status().to_string(),
        path: code.as_str().to_owned(),
        summary: code.title().to_owned(),
        ..DocsOperation::default()
    });
    DocsGroup {
        id: String::from("errors"),
        name: String::from("Errors"),
        description: paragraphs(
            "The code of a problem, and of an error of the gateway. 401 means that a key is bad, 503 that it cannot be told.",
        ),
        operations: operations.collect(),
    }
}

/// Reads a description, following its references.
struct Reader<'d>(&'d Value);

impl Reader<'_> {
    fn page(&self) -> DocsPage {
        let mut groups: Vec<DocsGroup> = Vec::new();
        for (path, methods) in self.0["paths"].as_object().into_iter().flatten() {
            for (method, operation) in methods.as_object().into_iter().flatten() {
                let tag = text(&operation["tags"][0]);
                let read = self.operation(method, path, operation);
                match groups.iter_mut().find(|group| group.name == tag) {
                    Some(group) => group.operations.push(read),
                    None => groups.push(DocsGroup {
                        id: anchor(&tag),
                        name: tag,
                        description: String::new(),
                        operations: vec![read],
                    }),
                }
            }
        }
        groups.push(errors());
        let info = &self.0["info"];
        DocsPage {
            title: text(&info["title"]),
            version: text(&info["version"]),
            description: paragraphs(&text(&info["description"])),
            groups,
        }
    }

    fn operation(&self, method: &str, path: &str, operation: &Value) -> DocsOperation {
        let method = method.to_uppercase();
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let responses = operation["responses"].as_object().into_iter().flatten();
        DocsOperation {
            id: anchor(&format!("{method} {path}")),
            summary: text(&operation["summary"]),
            description: paragraphs(&text(&operation["description"])),
            parameters: parameters
                .map(|parameter| DocsField {
                    name: text(&parameter["name"]),
                    in_: text(&parameter["in"]),
                    type_: self.type_of(&parameter["schema"]),
                    required: parameter["required"] == true,
                    description: html(&text(&parameter["description"])),
                })
                .collect(),
            request: self.body(&operation["requestBody"]),
            responses: responses
                .map(|(status, response)| DocsResponse {
                    status: if status == "default" { String::from("4xx, 5xx") } else { status.clone() },
                    description: match text(&response["description"]) {
                        said if !said.is_empty() => html(&said),
                        _ if status == "default" => String::from("A problem (RFC 9457)"),
                        _ if status == "204" => String::from("Done"),
                        _ => String::from("The answer"),
                    },
                    fields: self.body(response),
                })
                .collect(),
            path: path.to_owned(),
            method,
        }
    }

    /// The fields of a body, nested ones by path.
    fn body(&self, with_content: &Value) -> Vec<DocsField> {
        let content = with_content["content"].as_object().and_then(|content| content.values().next());
        let mut fields = Vec::new();
        if let Some(content) = content {
            self.fields(&content["schema"], "", 0, &mut fields);
        }
        fields
    }

    fn fields(&self, schema: &Value, prefix: &str, depth: usize, into: &mut Vec<DocsField>) {
        let schema = self.resolved(schema);
        let properties = schema["properties"].as_object().into_iter().flatten();
        for (name, property) in properties {
            let path = format!("{prefix}{name}");
            let is_required =
                schema["required"].as_array().is_some_and(|required| required.iter().any(|one| one == name.as_str()));
            into.push(DocsField {
                name: path.clone(),
                in_: String::new(),
                type_: self.type_of(property),
                required: is_required,
                description: html(&text(&property["description"])),
            });
            let (inner, mark) = match self.resolved(property) {
                list if list["type"] == "array" => (&list["items"], "[]."),
                plain => (plain, "."),
            };
            if depth + 1 < MAX_DEPTH {
                self.fields(inner, &format!("{path}{mark}"), depth + 1, into);
            }
        }
    }

    /// A schema behind its references, and behind `null or …`.
    fn resolved<'s>(&'s self, schema: &'s Value) -> &'s Value {
        let mut schema = schema;
        for _ in 0..8 {
            if let Some(reference) = schema["$ref"].as_str() {
                let Some(found) = self.0.pointer(reference.trim_start_matches('#')) else { break };
                schema = found;
            } else if let Some(one) = alternatives(schema).find(|one| one["type"] != "null") {
                schema = one;
            } else {
                break;
            }
        }
        schema
    }

    fn type_of(&self, schema: &Value) -> String {
        if let Some(reference) = schema["$ref"].as_str() {
            return reference.rsplit('/').next().unwrap_or_default().to_owned();
        }
        let either: Vec<String> = alternatives(schema).map(|one| self.type_of(one)).collect();
        if !either.is_empty() {
            return nullable_last(either);
        }
        match &schema["type"] {
            Value::String(kind) if kind == "array" => format!("array of {}", self.type_of(&schema["items"])),
            Value::String(kind) => kind.clone(),
            Value::Array(kinds) => nullable_last(kinds.iter().map(text).collect()),
            _ => String::from("any"),
        }
    }
}

fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    ["oneOf", "anyOf"].into_iter().flat_map(|of| schema[of].as_array().into_iter().flatten())
}

/// 'string or null'
fn nullable_last(mut types: Vec<String>) -> String {
    types.sort_by_key(|kind| kind == "null");
    types.join(" or ")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Letters, digits and dashes.
fn anchor(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}

/// Text as HTML: what stands between backticks is code.
fn html(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mut parts = escaped.split('`');
    let mut html = parts.next().unwrap_or_default().to_owned();
    while let Some(code) = parts.next() {
        match parts.next() {
            Some(rest) => html.extend(["<code>", code, "</code>", rest]),
            None => html.extend(["`", code]),
        }
    }
    html
}

/// The same in paragraphs, where blank lines part them.
fn paragraphs(text: &str) -> String {
    let parts = text.split("\n\n").map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| format!("<p>{}</p>", html(part))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backticks_become_code_and_nothing_becomes_markup() {
        assert_eq!(html("a `b<c>` & `d`"), "a <code>b&lt;c&gt;</code> &amp; <code>d</code>");
        assert_eq!(html("a lone ` stays"), "a lone ` stays");
        assert_eq!(paragraphs("one\n\n two `x`\n"), "<p>one</p><p>two <code>x</code></p>");
        assert_eq!(paragraphs(""), "");
    }
}
