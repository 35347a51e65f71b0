//! The audit log in people's words: actions, kinds, fields and what they held.

use jiff::Timestamp;
use llm::Kind;
use serde_json::Value;

use crate::console::moment::Moment;

/// `general_key.create` as 'General key created'.
pub fn action(code: &str) -> String {
    match code {
        "member.sign_in" => return String::from("Signed in"),
        "member.sign_in_refused" => return String::from("Sign-in refused"),
        "member.sign_out" => return String::from("Signed out"),
        "member.join" => return String::from("Invitation accepted"),
        "member.password" => return String::from("Password changed"),
        "member.recover" => return String::from("Password set by keyward recover"),
        "member.second_factor_on" => return String::from("Second factor turned on"),
        "member.second_factor_off" => return String::from("Second factor turned off"),
        "member.second_factor_remove" => return String::from("Second factor removed"),
        "member.recovery_codes" => return String::from("New recovery codes made"),
        "member.identity_link" => return String::from("Identity linked"),
        "member.identity_unlink" => return String::from("Identity unlinked"),
        "member.role_follow" => return String::from("Role followed the groups"),
        "member.recovery_code" => return String::from("Recovery code used"),
        "access.refused" => return String::from("Refused"),
        "master_key.rotate" => return String::from("Change of the master key begun"),
        "master_key.rotate_finish" => return String::from("Change of the master key finished"),
        "master_key.rotate_abort" => return String::from("Change of the master key aborted"),
        "master_key.rewrap" => return String::from("Keys wrapped with the newest version of the transit key"),
        "keyring.rotate" => return String::from("Rotation of the keys inside begun"),
        "keyring.activate" => return String::from("New keys inside put to use"),
        "agent_key.revoke_leaked" => return String::from("Agent key revoked: reported as leaked"),
        "management_token.revoke_leaked" => return String::from("Management token deleted: reported as leaked"),
        "agent_key.import" => return String::from("Agent key imported"),
        "agent_key_defaults.edit" => return String::from("Default limits edited"),
        "agent_key.retire" => return String::from("Older secret of agent key ended"),
        "keyring.retire" => return String::from("Older keys inside deleted"),
        "restore.accept" => return String::from("Restored database accepted"),
        "restore.confirm" => return String::from("Restored agent keys confirmed"),
        "restore.clock" => return String::from("Clock set right"),
        _ => {}
    }
    let (kind, verb) = code.split_once('.').unwrap_or((code, ""));
    let done = match verb {
        "create" => "created",
        "edit" => "edited",
        "delete" => "deleted",
        "disable" => "disabled",
        "enable" => "enabled",
        "rotate" => "rotated",
        "invite" => "invited",
        "remove" => "removed",
        "reassign" => "reassigned",
        other => other,
    };
    words(&format!("{kind} {done}")).trim_end().to_owned()
}

/// `general_key` as 'General key', `base_url` as 'Base URL'.
pub fn words(name: &str) -> String {
    match name {
        "base_url" => return String::from("Base URL"),
        "general_key_id" => return String::from("General key"),
        "provider_id" => return String::from("Provider"),
        "member_id" => return String::from("Whose"),
        "expires_at" => return String::from("Expired Date"),
        _ => {}
    }
    let mut chars = name.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).collect::<String>().replace('_', " ")
}

/// What a field held.
#[derive(Clone, Debug)]
pub enum Held {
    /// In words.
    Text(String),
    /// A time.
    Time(Moment),
    /// The id of something; shown by its name where that is known, else cut short.
    Id(String),
}

impl Held {
    /// What stands in a change; `None` for nothing.
    pub fn read(field: &str, value: &Value, now: i64) -> Option<Held> {
        let held = match value {
            Value::Null => return None,
            Value::Bool(yes) => Held::Text(String::from(if *yes { "yes" } else { "no" })),
            Value::String(text) => Held::of_text(field, text, now),
            Value::Array(all) => {
                let all = all.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned));
                Held::Text(all.collect::<Vec<_>>().join(", "))
            }
            other => Held::Text(other.to_string()),
        };
        Some(held)
    }

    fn of_text(field: &str, text: &str, now: i64) -> Held {
        if field == "kind" {
            return Held::Text(Kind::parse(text).map_or_else(|| text.to_owned(), |kind| kind.label().to_owned()));
        }
        if field.ends_with("_at")
            && let Ok(time) = text.parse::<Timestamp>()
        {
            return Held::Time(Moment::new(time.as_millisecond(), now));
        }
        if is_id(text) { Held::Id(text.to_owned()) } else { Held::Text(text.to_owned()) }
    }
}

/// Two letters and a ULID.
fn is_id(text: &str) -> bool {
    let Some((prefix, rest)) = text.split_once('_') else { return false };
    prefix.len() == 2
        && prefix.bytes().all(|b| b.is_ascii_lowercase())
        && rest.len() == 26
        && rest.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// `gk_01J…` as 'gk_…9XYZ'.
pub fn short(id: &str) -> String {
    let prefix = id.split('_').next().unwrap_or_default();
    format!("{prefix}_…{}", id.get(id.len().saturating_sub(4)..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::audit_events::ACTIONS;

    #[test]
    fn every_action_has_words() {
        assert_eq!(action("general_key.create"), "General key created");
        assert_eq!(action("management_token.create"), "Management token created");
        assert_eq!(action("member.sign_in_refused"), "Sign-in refused");
        for code in ACTIONS {
            let said = action(code);
            assert!(!said.contains(['.', '_']) && said.starts_with(|c: char| c.is_ascii_uppercase()), "{said}");
        }
    }

    #[test]
    fn what_fields_held_is_told_in_words() {
        let text = |field: &str, value: Value| match Held::read(field, &value, 0) {
            Some(Held::Text(text)) => text,
            Some(Held::Time(moment)) => moment.date,
            Some(Held::Id(id)) => short(&id),
            None => String::from("nothing"),
        };
        assert_eq!(text("expires_at", json!("2026-06-12T09:41:07.000Z")), "12 Jun 2026");
        assert_eq!(text("kind", json!("azure-openai")), "Azure OpenAI");
        assert_eq!(text("general_key_id", json!("gk_01JZZZZZZZZZZZZZZZZZZZ9XYZ")), "gk_…9XYZ");
        assert_eq!(text("disabled", json!(true)), "yes");
        assert_eq!(text("general_keys", json!(["A", "B"])), "A, B");
        assert_eq!(text("name", json!(null)), "nothing");
        assert_eq!(text("name", json!("an_ordinary name")), "an_ordinary name");
        assert_eq!(words("upstream_model"), "Upstream model");
    }
}
