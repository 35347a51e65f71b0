use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn model_of(body: &str) -> Option<String> {
    scan(body.as_bytes()).unwrap().model.map(|field| field.value.into_owned())
}

fn refused(body: &str) -> BodyError {
    scan(body.as_bytes()).unwrap_err()
}

fn rewritten(body: &str, model: Option<&str>, include_usage: bool) -> Option<String> {
    let out = scan(body.as_bytes()).unwrap().rewrite(model, include_usage)?;
    Some(String::from_utf8(out).unwrap())
}

#[test]
fn the_model_is_found_among_anything() {
    let body = r#" {"messages":[{"role":"user","model":"not me","content":"{\"model\":\"nor me\"}"}],
        "a":-1.5e+3, "b":[], "c":{}, "model" : "gpt-4o", "stream":true, "d":[[{"stream":1}],null]} "#;
    let scanned = scan(body.as_bytes()).unwrap();
    let model = scanned.model.unwrap();
    assert_eq!(model.value, "gpt-4o");
    assert!(matches!(model.value, Cow::Borrowed(_)));
    assert_eq!(&body[model.span], "\"gpt-4o\"");
    assert!(scanned.stream);
}

#[test]
fn values_are_unescaped() {
    assert_eq!(model_of(r#"{"model":"a\/b\u00e9\ud83d\ude00\n"}"#).unwrap(), "a/bé😀\n");
    assert_eq!(refused(r#"{"model":"\ud83d"}"#), BodyError::Invalid { at: 9 });
    assert_eq!(refused(r#"{"model":"\ud83d\u0041"}"#), BodyError::Invalid { at: 9 });
    assert_eq!(model_of("{}"), None);
    assert!(!scan(br#"{"stream":null}"#).unwrap().stream);
    assert!(!scan(br#"{"stream":false}"#).unwrap().stream);
}

#[test]
fn what_two_readers_could_take_differently_is_refused() {
    let cases = [
        ("", BodyError::Empty),
        (" \n", BodyError::Empty),
        ("\u{feff}{}", BodyError::ByteOrderMark),
        ("[]", BodyError::NotAnObject),
        ("{} x", BodyError::Invalid { at: 3 }),
        (r#"{"a":01}"#, BodyError::Invalid { at: 6 }),
        (r#"{"a":1,}"#, BodyError::Invalid { at: 7 }),
        ("{\"a\":\"\t\"}", BodyError::Invalid { at: 6 }),
        (r#"{"a":"\x"}"#, BodyError::Invalid { at: 7 }),
        (r#"{"a":tru}"#, BodyError::Invalid { at: 5 }),
        (r#"{"a":"#, BodyError::Invalid { at: 5 }),
        (r#"{"model":"a","model":"a"}"#, BodyError::Repeated("model")),
        (r#"{"stream":true,"stream":null}"#, BodyError::Repeated("stream")),
        (r#"{"stream_options":null,"stream_options":null}"#, BodyError::Repeated("stream_options")),
        (r#"{"Model":"a"}"#, BodyError::Misspelt("model")),
        (r#"{"mod\u0065l":"a"}"#, BodyError::Misspelt("model")),
        (r#"{"\u004dODEL":"a"}"#, BodyError::Misspelt("model")),
        ("{\"\u{17f}tream\":true}", BodyError::Misspelt("stream")),
        (r#"{"\u017ftream":true}"#, BodyError::Misspelt("stream")),
        (r#"{"STREAM_options":{}}"#, BodyError::Misspelt("stream_options")),
        (r#"{"\ud800":1}"#, BodyError::Invalid { at: 1 }),
        (r#"{"model":null}"#, BodyError::ModelNotString),
        (r#"{"model":["a"]}"#, BodyError::ModelNotString),
        (r#"{"stream":1}"#, BodyError::NotBoolean("stream")),
        (r#"{"stream":"true"}"#, BodyError::NotBoolean("stream")),
        (r#"{"stream_options":[]}"#, BodyError::OptionsNotObject),
        (r#"{"stream_options":{"include_usage":0}}"#, BodyError::NotBoolean("stream_options.include_usage")),
        (
            r#"{"stream_options":{"include_usage":true,"include_usage":false}}"#,
            BodyError::Repeated("stream_options.include_usage"),
        ),
    ];
    for (body, error) in cases {
        assert_eq!(refused(body), error, "{body}");
    }
    assert_eq!(scan(b"{\"a\":\"\xff\"}"), Err(BodyError::Invalid { at: 6 }));
    assert_eq!(scan(b"{\"a\":\"\xed\xa0\x80\"}"), Err(BodyError::Invalid { at: 6 }));
    // Deeper down, and under other names, these letters decide nothing.
    assert_eq!(model_of(r#"{"models":1,"x":{"Model":1,"model":1},"mo del":2}"#), None);
}

#[test]
fn depth_is_bounded_without_recursion() {
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(scan(nested(MAX_DEPTH - 1).as_bytes()).is_ok());
    assert_eq!(refused(&nested(MAX_DEPTH)), BodyError::TooDeep);
    assert_eq!(refused(&"{\"a\":".repeat(1_000_000)), BodyError::TooDeep);
    let options = |depth: usize| format!("{{\"stream_options\":{{\"a\":{}{}}}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(scan(options(MAX_DEPTH - 2).as_bytes()).is_ok());
    assert_eq!(refused(&options(MAX_DEPTH - 1)), BodyError::TooDeep);
}

#[test]
fn rewriting_changes_only_what_it_must() {
    let cases: [(&str, Option<&str>, bool, Option<&str>); 13] = [
        (r#"{"model":"a"}"#, None, false, None),
        (r#"{"model":"a"}"#, Some("a"), false, None),
        (r#"{"model":"\u0061"}"#, Some("a"), false, None),
        (r#"{}"#, Some("a"), false, None),
        (r#"{ "model" : "p/a" ,"x":1.0}"#, Some("a\"\n"), false, Some(r#"{ "model" : "a\"\u000a" ,"x":1.0}"#)),
        (r#"{"model":"a"}"#, None, true, Some(r#"{"stream_options":{"include_usage":true},"model":"a"}"#)),
        (r#"{ }"#, None, true, Some(r#"{"stream_options":{"include_usage":true} }"#)),
        (r#"{"stream_options":null}"#, None, true, Some(r#"{"stream_options":{"include_usage":true}}"#)),
        (r#"{"stream_options":{ }}"#, None, true, Some(r#"{"stream_options":{"include_usage":true }}"#)),
        (r#"{"stream_options":{"x":1}}"#, None, true, Some(r#"{"stream_options":{"include_usage":true,"x":1}}"#)),
        (
            r#"{"stream_options":{"include_usage":false},"model":"p/a"}"#,
            Some("a"),
            true,
            Some(r#"{"stream_options":{"include_usage":true},"model":"a"}"#),
        ),
        (
            r#"{"model":"p/a","stream_options":{"include_usage":null}}"#,
            Some("longer"),
            true,
            Some(r#"{"model":"longer","stream_options":{"include_usage":true}}"#),
        ),
        (r#"{"stream_options":{"include_usage":true}}"#, None, true, None),
    ];
    for (body, model, include_usage, expected) in cases {
        assert_eq!(rewritten(body, model, include_usage).as_deref(), expected, "{body}");
    }
}

#[test]
fn asking_for_usage_is_noticed() {
    let asked = |body: &str| scan(body.as_bytes()).unwrap().asked_for_usage();
    assert!(asked(r#"{"stream_options":{"include_usage":true}}"#));
    assert!(!asked(r#"{"stream_options":{"include_usage":false}}"#));
    assert!(!asked(r#"{"stream_options":null}"#) && !asked("{}"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(any_key(), inner, 0..6).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn any_key() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{0,6}", any::<String>(), Just("model".to_owned()), Just("Stream".to_owned())]
}

prop_compose! {
    fn any_request()(
        rest in prop::collection::hash_map("[a-l]{0,8}", any_json(), 0..5),
        model in prop::option::of(any::<String>()),
        stream in prop::option::of(any::<Option<bool>>()),
        include in prop::option::of(prop::option::of(prop::option::of(any::<Option<bool>>()))),
        pretty in any::<bool>(),
    ) -> String {
        let mut object: serde_json::Map<String, Value> = rest.into_iter().collect();
        if let Some(model) = model { object.insert("model".into(), model.into()); }
        if let Some(stream) = stream { object.insert("stream".into(), stream.into()); }
        match include {
            None => {}
            Some(None) => { object.insert("stream_options".into(), Value::Null); }
            Some(Some(None)) => { object.insert("stream_options".into(), json!({"other": [1]})); }
            Some(Some(Some(include))) => {
                object.insert("stream_options".into(), json!({"include_usage": include, "z": {}}));
            }
        }
        let object = Value::from(object);
        if pretty { format!("{object:#}") } else { object.to_string() }
    }
}

/// Valid by serde_json's reading, which skips values without building them and so without a limit of depth.
fn valid(body: &[u8]) -> bool {
    std::str::from_utf8(body).is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok())
}

fn agrees(body: &[u8]) -> Result<(), TestCaseError> {
    match scan(body) {
        Ok(_) => prop_assert!(valid(body)),
        // A lone surrogate in a top-level key or in the model is valid by the grammar alone.
        Err(BodyError::Empty | BodyError::ByteOrderMark) => prop_assert!(!valid(body)),
        Err(BodyError::Invalid { .. }) => {
            prop_assert!(!valid(body) || body.windows(2).any(|w| w == b"\\u"))
        }
        Err(_) => {}
    }
    Ok(())
}

proptest! {
    #[test]
    fn agrees_with_serde_json_on_values(value in any_json()) {
        agrees(value.to_string().as_bytes())?;
        agrees(format!("{{\"x\":{value:#}}}").as_bytes())?;
        let wrapped = format!("{{\"x\":{value}}}");
        prop_assert!(scan(wrapped.as_bytes()).is_ok());
    }

    #[test]
    fn agrees_with_serde_json_on_mutated_bytes(
        request in any_request(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..4),
    ) {
        let mut bytes = request.into_bytes();
        for (index, byte, what) in edits {
            if bytes.is_empty() { break; }
            let at = index.index(bytes.len());
            match what { 0 => bytes[at] = byte, 1 => bytes.insert(at, byte), _ => { bytes.remove(at); } }
        }
        agrees(&bytes)?;
    }

    #[test]
    fn never_panics(bytes in any::<Vec<u8>>(), text in "[{}\\[\\]\",:0-9eE+.tfn\\\\u \\-]{0,60}") {
        agrees(&bytes)?;
        agrees(text.as_bytes())?;
    }

    #[test]
    fn rewriting_differs_only_there(request in any_request(), model in any::<String>(), include in any::<bool>()) {
        let body = scan(request.as_bytes()).unwrap();
        let before: Value = serde_json::from_str(&request).unwrap();
        let mut expected = before.clone();
        if before.get("model").is_some() { expected["model"] = model.clone().into(); }
        if include {
            match expected.get("stream_options") {
                Some(Value::Object(_)) => expected["stream_options"]["include_usage"] = true.into(),
                _ => expected["stream_options"] = json!({"include_usage": true}),
            }
        }
        match body.rewrite(Some(&model), include) {
            None => prop_assert_eq!(before, expected),
            Some(out) => {
                prop_assert_ne!(&out, request.as_bytes());
                prop_assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
                prop_assert_eq!(scan(&out).unwrap().rewrite(Some(&model), include), None);
            }
        }
    }
}
