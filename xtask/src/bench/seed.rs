//! Many agent keys, written straight into the database of a Keyward that does not run: over REST each would be a
//! transaction of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use store::agent_keys::{self, AgentKey, AgentSecretRow};
use store::installation::StoredKey;
use store::{Db, Limits, Store};
use vault::{AgentSecret, Entropy, KeyPlace, Keyring, LiveKey, MasterKey, TokenKind};

/// Rows of one transaction.
const BATCH: usize = 20_000;
/// How many of the secrets are kept to make calls with.
const KEPT: usize = 2_000;
const DAY_MS: i64 = 86_400_000;

/// The keyring that a master key opens.
fn open(master: &MasterKey, installation: &str, keys: Vec<StoredKey>) -> Result<Keyring, String> {
    let open = |key: StoredKey| {
        let place = KeyPlace { installation, purpose: key.purpose, id: &key.id };
        let opened = master.unwrap_key(&place, &key.wrapped).ok_or("the master key does not open the stored keys")?;
        Ok(LiveKey { id: key.id, purpose: key.purpose, makes: true, key: Some(opened) })
    };
    let keys = keys.into_iter().map(open).collect::<Result<_, String>>()?;
    Keyring::assemble(installation, keys, None).map_err(text)
}

/// Writes `count` agent keys of `member_id`; the secrets of some of them, spread over all.
pub fn agent_keys(data: &Path, member_id: &str, count: usize) -> Result<Vec<String>, String> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(text)?;
    runtime.block_on(write(data, member_id, count))
}

async fn write(data: &Path, member_id: &str, count: usize) -> Result<Vec<String>, String> {
    let url = format!("sqlite:{}", data.join("keyward.db").display());
    let db = Db::open(&url, Limits::default()).await.map_err(text)?;
    let found = store::installation::find(&db).await.map_err(text)?;
    let (installation, keys) = found.ok_or("the database has no installation")?;
    let master = std::fs::read_to_string(data.join("master.key")).map_err(text)?;
    let master = MasterKey::parse(&master).map_err(text)?;
    let keyring = open(&master, &installation.id, keys)?;
    let store = Store::new(db, Arc::new(keyring), installation.keyring_version);
    let entropy = Entropy::system();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(text)?;
    let now = i64::try_from(now.as_millis()).map_err(text)?;
    let every = count.div_ceil(KEPT).max(1);
    let mut kept = Vec::new();
    let mut at = 0;
    while at < count {
        let mut tx = store.write().await.map_err(text)?;
        for number in at..count.min(at + BATCH) {
            let secret = AgentSecret::mint(TokenKind::Agent, &entropy).map_err(text)?;
            let digest = store.keyring().digest(secret.token().sha256());
            let key = AgentKey {
                id: format!("ak_{number:026}"),
                name: format!("agent {number}"),
                name_key: format!("agent {number}"),
                masked_secret: secret.mask(),
                member_id: member_id.to_owned(),
                created_by_id: member_id.to_owned(),
                created_by_name: String::from("bench"),
                limits: String::from("{}"),
                secrets: format!("as_{number:026}*0"),
                description: String::new(),
                tags: String::new(),
                created_at: now - i64::try_from(number).map_err(text)?,
                expires_at: now + DAY_MS * (20 + i64::try_from(number % 70).map_err(text)?),
                disabled_at: 0,
                leaked_at: 0,
                version: 1,
                mac: String::new(),
                last_used_at: 0,
            };
            let row = AgentSecretRow {
                id: format!("as_{number:026}"),
                agent_key_id: key.id.clone(),
                pepper_id: digest.pepper,
                digest: digest.value,
                created_at: now,
                ends_at: 0,
                masked_secret: secret.mask(),
                version: 1,
                mac: String::new(),
                last_used_at: 0,
            };
            agent_keys::insert(&mut tx, &key, &row).await.map_err(text)?;
            if number % every == 0 {
                kept.push(secret.expose_once().to_string());
            }
        }
        tx.commit().await.map_err(text)?;
        at += BATCH;
    }
    store.db().close().await;
    Ok(kept)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
