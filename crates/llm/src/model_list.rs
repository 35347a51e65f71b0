//! What a provider answers that is asked for its models.

use serde::Deserialize;

/// The names of models in a provider's list, in any of the shapes there are: OpenAI's and Anthropic's `data` with ids,
/// Gemini's, Cohere's and Ollama's `models` with names, Together's bare array. Sorted, each once; `None` for what is none.
pub fn listed_models(body: &[u8]) -> Option<Vec<String>> {
    let entries = match serde_json::from_slice(body).ok()? {
        List::Bare(entries) | List::Data { data: entries } | List::Models { models: entries } => entries,
    };
    let names = entries.into_iter().filter_map(|entry| entry.id.or(entry.name));
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
    Bare(Vec<Entry>),
    Data { data: Vec<Entry> },
    Models { models: Vec<Entry> },
}

#[derive(Deserialize)]
struct Entry {
    id: Option<String>,
    name: Option<String>,
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
            r#"[{"id":"a","type":"chat"},{"id":"b"},{"id":""},{}]"#,
        ] {
            assert_eq!(listed_models(body.as_bytes()), Some(vec!["a".into(), "b".into()]), "{body}");
        }
        for body in ["", "[]x", "{}", r#"{"data":{}}"#, r#"{"error":{"message":"no"}}"#, r#"{"data":[{"id":1}]}"#] {
            assert_eq!(listed_models(body.as_bytes()), None, "{body}");
        }
        assert_eq!(listed_models(b"[]"), Some(Vec::new()));
    }
}
