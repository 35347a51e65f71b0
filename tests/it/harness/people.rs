//! Members, as they come in: invited by the owner, joined through their link.

use serde_json::{Value, json};

use super::{Api, TestServer};

/// A member who has joined.
#[derive(Debug, Clone)]
pub struct Person {
    /// Their representation when they were invited.
    pub member: Value,
    /// The management API with their session.
    pub api: Api,
    /// What they sign in with.
    pub email: String,
}

impl Person {
    /// The password of everybody who joins in these tests.
    pub const PASSWORD: &str = "a password of the invited";

    /// Their id.
    pub fn id(&self) -> &str {
        self.member["id"].as_str().unwrap()
    }

    /// Their path under `/api/v1`.
    pub fn path(&self) -> String {
        format!("/members/{}", self.id())
    }
}

impl TestServer {
    /// Somebody invited with that role, who has joined.
    pub async fn person(&self, name: &str, role: &str) -> Person {
        let email = format!("{name}@example.com");
        let body = json!({ "email": email, "name": name, "role": role });
        let member = self.api().post("/members", body).await.expect(201).json();
        let token = token_of(&member);
        let joined =
            self.api_with(None).form("/invitation", &[("token", &token), ("password", Person::PASSWORD)]).await;
        let api = self.signed_in(&joined.expect(303));
        Person { member, api, email }
    }

    /// A member's session, started with their password.
    pub async fn sign_in(&self, email: &str, password: &str) -> super::Answer {
        self.api_with(None).form("/sign-in", &[("email", email), ("password", password)]).await
    }

    /// The management API with the session that this answer began.
    pub fn signed_in(&self, answer: &super::Answer) -> Api {
        let cookie = answer.header("set-cookie").expect("a session's cookie").split(';').next().unwrap().to_owned();
        self.api_with(None).with_cookie(cookie)
    }
}

/// The one-time token of an invitation's link.
pub fn token_of(member: &Value) -> String {
    let url = member["invitation_url"].as_str().expect("the link, this once");
    url.split_once("/invitation#token=").expect("the token in the fragment").1.to_owned()
}
