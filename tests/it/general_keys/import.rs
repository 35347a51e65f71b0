//! General keys from a `.env` file.

use crate::harness::{Answer, Api, FakeProvider, TestServer, World};

const FILE: &str = "# from a laptop\nOPENAI_API_KEY=sk-test-0123456789abcdefONE\nexport GROQ_API_KEY='gsk_test0123456789TWO'\n\
                    MY_API=sk-test-another-value-of-it-THREE\nPORT=8080\nwhat is this\n";

async fn pasted(person: &Api, text: &str) -> Answer {
    person.form("/keys/general/import", &[("text", text)]).await
}

/// What the preview's form sends beside the choices.
fn held(preview: &Answer) -> (String, String) {
    let page = preview.text();
    let field = |name: &str| {
        let start = page.split(&format!("name=\"{name}\" value=\"")).nth(1).expect("the field");
        start.split('"').next().unwrap().to_owned()
    };
    (field("entries"), field("ends_at"))
}

async fn save(person: &Api, held: &(String, String), choices: &[(&str, &str)]) -> Answer {
    let own = [("entries", held.0.as_str()), ("ends_at", held.1.as_str())];
    let fields: Vec<_> = own.into_iter().chain(choices.iter().copied()).collect();
    person.form("/keys/general/import/save", &fields).await
}

#[tokio::test]
async fn what_was_pasted_is_looked_over_and_what_was_chosen_becomes_keys() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let boss = keyward.person("boss", "owner").await.api;
    let preview = pasted(&boss, FILE).await.expect(200);
    let page = preview.text();
    for told in ["OPENAI_API_KEY", "sk-******ONE", "Groq", "gsk******TWO", "there is a key of this name", "line 6"] {
        assert!(page.contains(told), "{told}: {page}");
    }
    for secret in ["0123456789abcdef", "0123456789TWO", "another-value"] {
        assert!(!page.contains(secret), "{secret}: {page}");
    }
    let choices =
        [("entry_1", "create"), ("entry_2", "create"), ("entry_3", "replace"), ("entry_4", ""), ("entry_9", "create")];
    let saved = save(&boss, &held(&preview), &choices).await.expect(303);
    assert_eq!(saved.header("location"), Some("/keys/general?done=general-keys-imported"));
    let api = keyward.api();
    let items = api.get("/general-keys?sort=name").await.expect(200).json()["items"].as_array().unwrap().clone();
    let named: Vec<_> =
        items.iter().map(|key| (key["name"].as_str().unwrap(), key["masked_value"].as_str().unwrap())).collect();
    assert_eq!(
        named,
        [("GROQ_API_KEY", "gsk******TWO"), ("MY_API", "sk-******REE"), ("OPENAI_API_KEY", "sk-******ONE")]
    );
    // The replaced value is what goes out.
    world.agent.chat(World::MODEL).await.expect(200);
    let call = provider.calls().pop().unwrap();
    let sent = call.headers.iter().find(|(name, _)| name == "authorization").unwrap().1.clone();
    assert_eq!(sent, "Bearer sk-test-another-value-of-it-THREE");

    // It is good once.
    let again = save(&boss, &held(&preview), &choices).await.expect(422).text();
    assert!(again.contains("Was imported before"), "{again}");
    // Only what was offered becomes of an entry, also where somebody made a key of its name meanwhile.
    let preview = pasted(
        &boss,
        "NEW_KEY=sk-test-value-of-it-1\nMY_API=sk-test-a-third-value-FOR\nNEW_KEY=sk-test-value-of-it-2\n",
    )
    .await
    .expect(200);
    assert!(preview.text().contains("Set again further down, which counts: line 1."), "{}", preview.text());
    let refused =
        save(&boss, &held(&preview), &[("entry_1", "create"), ("entry_2", "replace")]).await.expect(200).text();
    assert!(refused.contains("0 keys imported") && refused.contains("was no key"), "{refused}");
    let preview = pasted(&boss, FILE).await.expect(200);
    let skipped = save(&boss, &held(&preview), &[]).await.expect(303);
    assert_eq!(skipped.header("location"), Some("/keys/general?done=nothing-imported"));
}

#[tokio::test]
async fn a_preview_is_good_for_its_member_and_a_while() {
    let keyward = TestServer::start().await;
    let boss = keyward.person("boss", "owner").await.api;
    let other = keyward.person("other", "admin").await.api;
    let preview = pasted(&boss, FILE).await.expect(200);
    let held_by_boss = held(&preview);
    let choice = [("entry_1", "create")];
    save(&other, &held_by_boss, &choice).await.expect(422);
    let later = (held_by_boss.0.clone(), (held_by_boss.1.parse::<i64>().unwrap() + 1).to_string());
    save(&boss, &later, &choice).await.expect(422);
    save(&boss, &(String::from("AAAA"), held_by_boss.1.clone()), &choice).await.expect(422);
    save(&boss, &held_by_boss, &choice).await.expect(303);
    // Nobody else imports at all.
    for role in ["operator", "member", "auditor"] {
        let person = keyward.person(role, role).await.api;
        person.page("/keys/general/import").await.expect(403);
        pasted(&person, FILE).await.expect(403);
        save(&person, &held_by_boss, &choice).await.expect(403);
    }
    let home = keyward.stop().await;
    let keyward = home.serve().seconds_later(16 * 60).start().await;
    let boss =
        keyward.signed_in(&keyward.sign_in("boss@example.com", crate::harness::Person::PASSWORD).await.expect(303));
    save(&boss, &held_by_boss, &choice).await.expect(422);
}

#[tokio::test]
async fn what_holds_no_entry_is_refused() {
    let keyward = TestServer::start().await;
    let boss = keyward.person("boss", "owner").await.api;
    let many: String = (0..201).map(|number| format!("KEY_{number}=value-{number}\n")).collect();
    for text in ["", "   \n# nothing", "hello", &many] {
        let refused = pasted(&boss, text).await.expect(422).text();
        assert!(refused.contains("holds") && !refused.contains("value-1"), "{refused}");
    }
    pasted(&boss, &"A=b\n".repeat(100_000)).await.expect(413);
    let mask = pasted(&boss, "A_KEY=sk-******xyz\nB_KEY=kw_0\nC_KEY=x y").await.expect(200).text();
    assert_eq!(mask.matches("Cannot be a key").count(), 3, "{mask}");
}
