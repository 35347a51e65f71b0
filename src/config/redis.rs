//! Where minutes are counted for many servers: the URL of Redis.

use url::Url;

use super::source::{ConfigError, Source};

/// The URL of a Redis or Valkey; it may hold a password.
#[derive(Clone)]
pub struct RedisUrl(String);

impl std::fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RedisUrl(…)")
    }
}

impl RedisUrl {
    /// Reads the setting, if there is one.
    ///
    /// # Errors
    /// [`ConfigError`], which does not repeat the URL.
    pub fn load(source: &Source) -> Result<Option<RedisUrl>, ConfigError> {
        let Some(text) = source.secret("redis_url")? else { return Ok(None) };
        if is_usable(&text) {
            return Ok(Some(RedisUrl(text)));
        }
        Err(ConfigError::wrong(
            "redis_url",
            "must be redis://HOST:PORT, or rediss://HOST:PORT for TLS, with USER:PASSWORD@ before the host and /DATABASE behind \
             the port where these are needed, and nothing else",
        ))
    }

    /// The URL, password and all.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_usable(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    ["redis", "rediss", "valkey", "valkeys"].contains(&url.scheme())
        && url.host_str().is_some_and(|host| !host.is_empty())
        && url.path().trim_start_matches('/').bytes().all(|byte| byte.is_ascii_digit())
        && url.query().is_none()
        // Whose one use is to switch the check of certificates off.
        && url.fragment().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_that_a_redis_is_reached_by_and_never_shown() {
        for good in
            ["redis://127.0.0.1", "redis://:p%40ss@cache:6380/3", "rediss://me:secret@[::1]:6379/", "valkeys://v"]
        {
            assert!(is_usable(good), "{good}");
        }
        for bad in [
            "",
            "cache:6379",
            "redis://",
            "unix:///run/redis",
            "rediss://cache/#insecure",
            "redis://c/a",
            "redis://c?x=1",
        ] {
            assert!(!is_usable(bad), "{bad}");
        }
        assert!(!format!("{:?}", RedisUrl(String::from("redis://:secret@cache"))).contains("secret"));
    }
}
