//! What a provider answers that is asked for its models.

use serde::Deserialize;
use serde_json::Value;

/// The names of models in a provider's list, in any of the shapes there are: OpenAI's and Anthropic's `data` with ids,
/// Gemini's, Cohere's and Ollama's `models` with names, Together's bare array. Sorted, each once; an entry without a name
/// is left out; `None` for what is no list.
pub fn listed_models(body: &[u8]) -> Option<Vec<String>> {
    let entries = match serde_json::from_slice(body).ok()? {
        List::Bare(entries) | List::Data { data: entries } | List::Models { models: entries } => entries,
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let names = entries.iter().filter_map(|entry| text(&entry["id"]).or_else(|| text(&entry["name"])));
    let mut names: Vec<String> = names
        .map(|name| name.strip_prefix("models/").map(str::to_owned).unwrap_or(name))
        .filter(|name| !name.is_empty())
        .collect();
    names.sort();
    names.dedup();
    Some(names)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum List {
    Bare(Vec<Value>),
    Data { data: Vec<Value> },
    Models { models: Vec<Value> },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_list_is_read() {
        for body in [
            r#"{"object":"list","data":[{"id":"b","object":"model","owned_by":"x"},{"id":"a","object":"model"}]}"#,
            r#"{"data":[{"type":"model","id":"a","display_name":"A"},{"type":"model","id":"b"}],"has_more":false}"#,
            r#"{"models":[{"name":"models/a","displayName":"A"},{"name":"models/b"}],"nextPageToken":"x"}"#,
            r#"{"models":[{"name":"a","endpoints":["chat"]},{"name":"b"},{"name":"b"}]}"#,
            r#"{"models":[{"name":"a","model":"a:latest","size":1},{"name":"b"}]}"#,
            r#"[{"id":"a","type":"chat"},{"id":"b"},{"id":""},{},{"id":1},7,null]"#,
        ] {
            assert_eq!(listed_models(body.as_bytes()), Some(vec!["a".into(), "b".into()]), "{body}");
        }
        for body in ["", "[]x", "{}", r#"{"data":{}}"#, r#"{"error":{"message":"no"}}"#] {
            assert_eq!(listed_models(body.as_bytes()), None, "{body}");
        }
        assert_eq!(listed_models(b"[]"), Some(Vec::new()));
    }
}
