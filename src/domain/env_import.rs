//! General keys from a `.env` file: a preview to choose from, and the import. What was pasted goes back to the browser
//! sealed, for its member, a few minutes and one import, so that nobody keeps it and it is never shown.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use llm::Kind;
use serde::{Deserialize, Serialize};
use vault::{Place, ProviderValue};
use zeroize::{Zeroize, Zeroizing};

use super::{
    Core,
    actor::Actor,
    general_keys::{self, Edit},
    name::Name,
};
use crate::error::{Error, Result};

/// The most entries that are read.
pub const MAX_ENTRIES: usize = 200;
/// How long a preview is good for, in milliseconds.
const GOOD_FOR_MS: i64 = 15 * 60_000;

/// A line that sets a variable.
#[derive(Serialize, Deserialize)]
struct Entry {
    name: String,
    value: String,
    /// Whether there was a key of this name when it was looked over: what may become of it was told by that.
    exists: bool,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

/// An entry, to choose what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its name, which becomes the key's.
    pub name: String,
    /// Its value's mask.
    pub mask: String,
    /// What it looks like a key of.
    pub kind: Option<Kind>,
    /// Whether there is a key of this name already.
    pub exists: bool,
    /// Whether name or value say that it is a key at all.
    pub looks_like_a_key: bool,
    /// Why it cannot become one.
    pub refused: Option<String>,
}

/// What was found.
pub struct Preview {
    /// The entries, in their order.
    pub rows: Vec<Row>,
    /// Lines that set nothing: their numbers.
    pub unread: Vec<usize>,
    /// Lines whose name a later one sets again: their numbers.
    pub overridden: Vec<usize>,
    /// All entries, sealed.
    pub sealed: String,
    /// Until when that can be opened, in milliseconds since 1970.
    pub ends_at: i64,
}

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// A new general key.
    Create,
    /// The value of the key of this name.
    Replace,
}

/// What became of it all.
#[derive(Debug, Default)]
pub struct Imported {
    /// Keys that were made.
    pub created: usize,
    /// Keys that have another value now.
    pub replaced: usize,
    /// Entries that came to nothing, and why.
    pub failed: Vec<(String, String)>,
}

/// Reads a file's text.
///
/// # Errors
/// Text without an entry, or with too many; a storage failure.
pub async fn preview(core: &Core, actor: &Actor, text: &str) -> Result<Preview> {
    let Parsed { mut entries, unread, overridden } = parse(text);
    if entries.is_empty() {
        return Err(Error::field("text", "holds no line like NAME=value"));
    }
    if entries.len() > MAX_ENTRIES {
        return Err(Error::field("text", format!("holds more than {MAX_ENTRIES} entries; import it in parts")));
    }
    let known: Vec<String> = general_keys::all(core).await?.into_iter().map(|key| key.name_key).collect();
    for entry in &mut entries {
        entry.exists = Name::parse(&entry.name).is_ok_and(|name| known.contains(&name.key));
    }
    let rows = entries.iter().map(row).collect();
    let ends_at = core.clock.now_ms() + GOOD_FOR_MS;
    let bytes = Zeroizing::new(serde_json::to_vec(&entries).unwrap_or_default());
    let sealed = core.store.keyring().seal_bytes(&core.entropy, &place(actor, ends_at), &bytes)?;
    Ok(Preview { rows, unread, overridden, sealed, ends_at })
}

/// Imports what was chosen of a preview, once: `choose` says it for each entry, by its place. What the preview did not offer
/// is told with what failed.
///
/// # Errors
/// A preview that is too old, was imported before or is somebody else's; a storage failure. What fails of an entry is told
/// in the outcome.
pub async fn import(
    core: &Core,
    actor: &Actor,
    sealed: &str,
    ends_at: i64,
    choose: impl Fn(usize) -> Option<Choice>,
) -> Result<Imported> {
    let expired = || Error::field("text", "was read too long ago, or by somebody else; paste it again");
    if ends_at <= core.clock.now_ms() {
        return Err(expired());
    }
    let bytes = core.store.keyring().open_bytes(&place(actor, ends_at), sealed).map_err(|_| expired())?;
    let entries: Vec<Entry> = serde_json::from_slice(&bytes).map_err(|_| expired())?;
    use_up(core, sealed, ends_at).await?;
    let mut imported = Imported::default();
    for (at, entry) in entries.iter().enumerate() {
        let done = match choose(at) {
            None => continue,
            Some(Choice::Create) if entry.exists => {
                Err(Error::field("name", "was a key's already, to be replaced or left"))
            }
            Some(Choice::Replace) if !entry.exists => Err(Error::field("name", "was no key's yet, to be replaced")),
            Some(Choice::Create) => {
                let created = general_keys::create(core, actor, &entry.name, entry.value.clone(), None).await;
                created.map(|_| imported.created += 1)
            }
            Some(Choice::Replace) => replace(core, actor, entry).await.map(|()| imported.replaced += 1),
        };
        if let Err(error) = done {
            imported.failed.push((entry.name.clone(), error.reason()));
        }
    }
    Ok(imported)
}

/// Has a preview imported once.
async fn use_up(core: &Core, sealed: &str, ends_at: i64) -> Result<()> {
    let digest = core.store.keyring().session_mac(format!("general-key-import\n{sealed}").as_bytes());
    let mut tx = core.store.write().await?;
    let digest = URL_SAFE_NO_PAD.encode(digest);
    if !store::identities::use_state(&mut tx, &digest, ends_at, core.clock.now_ms()).await? {
        return Err(Error::field("text", "was imported before; to import again, paste it again"));
    }
    Ok(tx.commit().await?)
}

async fn replace(core: &Core, actor: &Actor, entry: &Entry) -> Result<()> {
    let name = Name::parse(&entry.name)?;
    let key = general_keys::all(core).await?.into_iter().find(|key| key.name_key == name.key);
    let key = key.ok_or_else(|| Error::field("name", "is no key's any more"))?;
    let edit = Edit { name: None, value: Some(entry.value.clone()) };
    general_keys::edit(core, actor, &key.id, Some(key.version), edit).await.map(drop)
}

/// In no table: the sealed form lives in the page that is about it.
fn place(actor: &Actor, ends_at: i64) -> Place<'_> {
    Place { table: "general_key_imports", row: &actor.member_id, field: "entries", version: ends_at }
}

fn row(entry: &Entry) -> Row {
    let name = Name::parse(&entry.name);
    let value = ProviderValue::parse(entry.value.clone());
    let upper = entry.name.to_ascii_uppercase();
    let by_name = ["KEY", "TOKEN", "SECRET"].iter().any(|end| upper.ends_with(end));
    let by_value = entry.value.starts_with("sk-") || Kind::guess_from_value(&entry.value).is_some();
    let kind = kind_of_name(&upper).or_else(|| by_value.then(|| Kind::guess_from_value(&entry.value)).flatten());
    Row {
        name: entry.name.clone(),
        mask: value.as_ref().map(ProviderValue::mask).unwrap_or_default(),
        kind,
        exists: entry.exists,
        looks_like_a_key: by_name || by_value,
        refused: match (&name, &value) {
            (Err(error), _) => Some(error.reason()),
            (_, Err(error)) => Some(error.to_string()),
            _ => None,
        },
    }
}

/// What the names of variables say that providers' own clients read.
fn kind_of_name(upper: &str) -> Option<Kind> {
    const WORDS: [(&str, Kind); 14] = [
        ("AZURE", Kind::AzureOpenAi),
        ("OPENROUTER", Kind::OpenRouter),
        ("OPENAI", Kind::OpenAi),
        ("ANTHROPIC", Kind::Anthropic),
        ("CLAUDE", Kind::Anthropic),
        ("GEMINI", Kind::Gemini),
        ("GOOGLE_API", Kind::Gemini),
        ("MISTRAL", Kind::Mistral),
        ("GROQ", Kind::Groq),
        ("DEEPSEEK", Kind::DeepSeek),
        ("XAI", Kind::Xai),
        ("TOGETHER", Kind::Together),
        ("FIREWORKS", Kind::Fireworks),
        ("COHERE", Kind::Cohere),
    ];
    WORDS.iter().find(|(word, _)| upper.contains(word)).map(|(_, kind)| *kind)
}

/// What a `.env` file holds.
struct Parsed {
    entries: Vec<Entry>,
    /// The numbers of lines that are no entry, no comment and not empty.
    unread: Vec<usize>,
    /// The numbers of lines whose name a later one sets again, which counts, as for a shell.
    overridden: Vec<usize>,
}

fn parse(text: &str) -> Parsed {
    let mut entries: Vec<(usize, Entry)> = Vec::new();
    let (mut unread, mut overridden) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim().trim_start_matches('\u{feff}');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let entry = line.split_once('=').and_then(|(name, value)| {
            let name = name.trim();
            let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c));
            let value = unquoted(value.trim());
            (is_name && !value.is_empty()).then(|| Entry {
                name: name.to_owned(),
                value: value.to_owned(),
                exists: false,
            })
        });
        match entry {
            Some(entry) => {
                let earlier = entries.iter().position(|(_, other)| other.name == entry.name);
                overridden.extend(earlier.map(|at| entries.remove(at).0));
                entries.push((number, entry));
            }
            None => unread.push(number),
        }
    }
    overridden.sort_unstable();
    Parsed { entries: entries.into_iter().map(|(_, entry)| entry).collect(), unread, overridden }
}

/// A value without its quotes, or without the comment behind it.
fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some((inner, _)) = value.strip_prefix(quote).and_then(|rest| rest.split_once(quote)) {
            return inner;
        }
    }
    value.split_once(" #").map_or(value, |(value, _)| value).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_a_shell_would() {
        let text = "\u{feff}# keys\nOPENAI_API_KEY=sk-test-1\n\nexport ANTHROPIC_API_KEY = \"sk-ant-test # no comment\" # one\n\
                    GROQ='gsk_test'\r\nPORT=8080 # the port\nnonsense\n=x\nEMPTY=\nA B=c\nOPENAI_API_KEY=sk-test-2\n";
        let Parsed { entries, unread, overridden } = parse(text);
        let read: Vec<_> = entries.iter().map(|entry| (entry.name.as_str(), entry.value.as_str())).collect();
        assert_eq!(
            read,
            [
                ("ANTHROPIC_API_KEY", "sk-ant-test # no comment"),
                ("GROQ", "gsk_test"),
                ("PORT", "8080"),
                ("OPENAI_API_KEY", "sk-test-2"),
            ]
        );
        assert_eq!((unread, overridden), (vec![7, 8, 9, 10], vec![2]));
    }

    #[test]
    fn an_entry_says_whose_key_it_looks_like() {
        let row = |name: &str, value: &str| {
            let row = row(&Entry { name: name.into(), value: value.into(), exists: false });
            (row.kind, row.looks_like_a_key)
        };
        assert_eq!(row("OPENAI_API_KEY", "sk-test-value-1"), (Some(Kind::OpenAi), true));
        assert_eq!(row("WHATEVER", "sk-ant-test-value"), (Some(Kind::Anthropic), true));
        assert_eq!(row("AZURE_OPENAI_API_KEY", "0123456789abcdef"), (Some(Kind::AzureOpenAi), true));
        assert_eq!(row("PORT", "8080"), (None, false));
    }
}
