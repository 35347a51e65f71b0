//! The words of an e-mail: what happened, to which key, and what to do. Never a secret; and nothing that somebody named a key
//! begins a line of its own.

use serde_json::Value;

use super::{
    mail::TEST,
    name::is_allowed,
    prices,
    warnings::{BUDGET, ENDED_CALLED, ENDING, LEAKED, REFUSED},
};

/// How much is repeated of a name or of a provider's words, in characters.
const MAX_WORDS: usize = 300;

/// Subject and text of an e-mail about an event, whose message to webhooks is `payload`; `None` for what is none of ours.
pub(super) fn of(event: &str, payload: &str, console: &str) -> Option<(String, String)> {
    let payload: Value = serde_json::from_str(payload).ok()?;
    let data = &payload["data"];
    let (subject, happened, to_do) = match event {
        ENDING => ending(data)?,
        BUDGET => budget(data)?,
        ENDED_CALLED => ended_called(data),
        LEAKED => leaked(data),
        REFUSED => refused(data),
        TEST => {
            let text = format!("This is a test. Keyward at {console} can reach you by e-mail.\n");
            return Some((String::from("A test from Keyward"), text));
        }
        _ => return None,
    };
    let page = match event {
        REFUSED => format!("{console}/keys/general/{}/edit", id(&data["general_key"])),
        _ => format!("{console}/keys/agent/{}", id(&data["agent_key"])),
    };
    let text = format!(
        "{happened}\n\n{to_do}\n\nIts page: {page}\n\n-- \nKeyward at {console}\nTo get no more of these, switch them off in \
         your account: {console}/settings/account\n"
    );
    Some((subject, text))
}

type Words = (String, String, String);

fn ending(data: &Value) -> Option<Words> {
    let key = &data["agent_key"];
    let days = match data["within_days"].as_i64()? {
        1 => String::from("1 day"),
        days => format!("{days} days"),
    };
    Some((
        format!("Agent key “{}” ends within {days}", name(key)),
        format!("The agent key {} is in use and ends within {days}: {}.", named(key), end(key)),
        String::from(
            "If it is still needed, rotate it in time: the old secret lives on for a while beside the new one.",
        ),
    ))
}

fn budget(data: &Value) -> Option<Words> {
    let key = &data["agent_key"];
    let percent = data["percent"].as_i64()?;
    let amount = data["budget"]["amount"].as_i64()?;
    let amount = match data["budget"]["unit"].as_str()? {
        "cost_micros" => format!("{} in money", prices::decimal(amount)),
        _ => format!("{amount} tokens"),
    };
    let period = plain(&data["period"]);
    Some((
        format!("Agent key “{}” has used {percent} % of its budget", name(key)),
        format!("The agent key {} has used {percent} % of its budget of {amount} a {period}.", named(key)),
        match percent {
            100.. => {
                format!("Calls with it are refused until the next {period} begins, or until its budget is raised.")
            }
            _ => String::from(
                "Once all of it is used, calls with the key are refused. See what it is used for, or raise it.",
            ),
        },
    ))
}

fn ended_called(data: &Value) -> Words {
    let key = &data["agent_key"];
    let address = plain(&data["address"]);
    (
        format!("Agent key “{}” has ended and is still called", name(key)),
        format!(
            "The agent key {} has ended ({}) and is still called, from {address}. The calls are refused.",
            named(key),
            end(key)
        ),
        String::from("If that agent is still needed, give it another key; else find out who calls."),
    )
}

fn leaked(data: &Value) -> Words {
    let key = &data["agent_key"];
    let found = match plain(&data["found_at"]).as_str() {
        "" => String::new(),
        at => format!(" It was found at {at}"),
    };
    (
        format!("Agent key “{}” was reported as leaked", name(key)),
        format!(
            "The secret of the agent key {} was reported as leaked, and ended at once and for good.{found}",
            named(key)
        ),
        String::from("Take it away from where it lies open, and create another key for whoever needs one."),
    )
}

fn refused(data: &Value) -> Words {
    let key = &data["general_key"];
    (
        format!("A provider refuses the general key “{}”", name(key)),
        format!("A provider refuses the general key {}. It says: {}", named(key), plain(&data["words"])),
        String::from("Look at the provider whether the key is still good, and save a new value where it is not."),
    )
}

fn named(key: &Value) -> String {
    format!("“{}” ({})", name(key), id(key))
}

fn name(key: &Value) -> String {
    plain(&key["name"])
}

/// An id as it may stand in a link.
fn id(key: &Value) -> String {
    plain(&key["id"]).chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect()
}

fn end(key: &Value) -> String {
    let time = plain(&key["expires_at"]);
    match time.split_once('T') {
        Some((date, time)) => format!("{date} at {} UTC", time.get(..5).unwrap_or(time)),
        None => time,
    }
}

/// Text on one line.
fn plain(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    text.chars().map(|letter| if is_allowed(letter) { letter } else { ' ' }).take(MAX_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::warnings;

    const CONSOLE: &str = "https://keyward.example.com";

    fn text(event: &str, data: Value) -> (String, String) {
        of(event, &json!({ "type": event, "data": data }).to_string(), CONSOLE).expect(event)
    }

    #[test]
    fn each_event_is_told_in_words_with_a_link() {
        let key = json!({ "id": "ak_1", "name": "crawler", "expires_at": "2026-06-12T09:41:07.000Z" });
        let (subject, body) = text(ENDING, json!({ "agent_key": key, "within_days": 7 }));
        assert_eq!(subject, "Agent key “crawler” ends within 7 days");
        assert!(body.contains("“crawler” (ak_1) is in use and ends within 7 days: 2026-06-12 at 09:41 UTC."), "{body}");
        assert!(body.contains("Its page: https://keyward.example.com/keys/agent/ak_1\n"), "{body}");
        let budget = json!({ "unit": "cost_micros", "amount": 2_500_000 });
        let data = json!({ "agent_key": key, "budget": budget, "period": "month", "percent": 100 });
        let (subject, body) = text(BUDGET, data);
        assert_eq!(subject, "Agent key “crawler” has used 100 % of its budget");
        assert!(body.contains("of 2.5") && body.contains("until the next month begins"), "{body}");
        let (_, body) = text(ENDED_CALLED, json!({ "agent_key": key, "address": "192.0.2.7" }));
        assert!(body.contains("from 192.0.2.7"), "{body}");
        let general = json!({ "id": "gk_1", "name": "MY_API" });
        let (_, body) = text(REFUSED, json!({ "general_key": general, "words": "no\r\n\r\nsuch key" }));
        assert!(body.contains("It says: no    such key\n") && body.contains("/keys/general/gk_1/edit"), "{body}");
        let (subject, _) = text(TEST, json!({}));
        assert_eq!(subject, "A test from Keyward");
        assert!(of(warnings::TEST, "{}", CONSOLE).is_none() && of(ENDING, "{", CONSOLE).is_none());
    }

    #[test]
    fn a_name_stays_on_its_line_and_an_id_within_its_link() {
        let key = json!({ "id": "ak_1\n/../x", "name": "a\r\nBcc: eve@example.com" });
        let (subject, body) = text(ENDED_CALLED, json!({ "agent_key": key, "address": "x" }));
        assert!(!subject.contains(['\r', '\n']), "{subject:?}");
        assert!(!body.contains("\nBcc") && body.contains("/keys/agent/ak_1x\n"), "{body}");
    }
}
