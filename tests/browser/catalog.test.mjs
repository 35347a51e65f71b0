// Providers & models, Test key, the rule that a key's value stays with its address, and the audit log.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { GOOD_VALUE, TWO_MODES, api, button, check, claim, launch, link, popUp, said, startProvider, startServer, testKey, until, withPage } from "./harness.mjs";

let browser, server, provider, elsewhere, cookie, call;
before(async () => {
  [browser, server, provider, elsewhere] = await Promise.all([launch(), startServer(), startProvider(), startProvider()]);
  cookie = await claim(server);
  call = api(server, cookie);
});
after(() => Promise.all([browser.close(), server.stop(), provider.stop(), elsewhere.stop()]));

const inEach = (what, body) => {
  for (const mode of TWO_MODES) {
    test(`${what} (${mode.name})`, () => withPage(browser, server, mode, { cookie }, (page) => body(page, mode.script ? "s" : "n")));
  }
};

inEach("a provider and its model are made, edited, tested and deleted", async (page, tag) => {
  const key = await call("POST", "general-keys", { name: `KEY_${tag}`, value: GOOD_VALUE });
  const own = await call("POST", "general-keys", { name: `OWN_${tag}`, value: "sk-of-the-model-0123456789" });
  await page.goto("/catalog/providers/new");
  await page.locator("#name").fill("with/slash");
  await page.locator("#base_url").fill(provider.base);
  await button(page, "Save").click();
  await page.locator("#name-error").waitFor();
  await check(page);
  await page.locator("#name").fill(`House-${tag}`);
  await button(page, "Save").click();
  await said(page, "Provider saved.");
  const card = page.locator(".card").filter({ hasText: `House-${tag}` });
  assert.match(await card.innerText(), /None linked/);
  await check(page);
  await card.getByRole("link", { name: "Link a key" }).click();
  const choice = await page.locator("#general_key_id option").filter({ hasText: `KEY_${tag}` }).innerText();
  assert.match(choice, /KEY_. — sk-/, "picked by name and mask");
  await page.locator("#general_key_id").selectOption(key.id);
  await button(page, "Save").click();
  await said(page, "Changes saved.");

  await card.getByRole("link", { name: "New model" }).click();
  await page.locator("#name").fill(`model-${tag}`);
  await page.locator("#upstream_model").fill("upstream-name");
  await page.locator("#general_key_id").selectOption(own.id);
  await button(page, "Save").click();
  await said(page, "Model saved.");
  await link(page, `Edit model-${tag}`).click();
  assert.match(await testKey(page, button(page, "Test key")), /refused the key/);
  await check(page);
  await page.locator("#general_key_id").selectOption("");
  await button(page, "Save").click();
  await said(page, "Changes saved.");
  assert.match(await testKey(page, button(page, `Test key of House-${tag}`)), /accepted the key/);

  await page.goto(`/catalog?search=House-${tag}`);
  await check(page);
  let dialog = await popUp(page, `Delete model-${tag}`);
  assert.match(await dialog.innerText(), /Agents that call this model/);
  await check(page);
  await link(dialog, "Cancel").click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  dialog = await popUp(page, `Delete House-${tag}`);
  assert.match(await dialog.innerText(), new RegExp(`This model goes with it:\\s+model-${tag}`));
  await check(page);
  await button(dialog, "Delete").click();
  await said(page, "Provider deleted.");
  assert.equal(await page.getByText(`House-${tag}`).count(), 0);
  await page.goto("/catalog?search=nothing-like-it");
  await link(page, "Clear").first().waitFor();
  await check(page);
});

inEach("a model alone is deleted", async (page, tag) => {
  const to = await call("POST", "providers", { name: `Alone-${tag}`, kind: "openai", base_url: provider.base });
  await call("POST", "models", { name: `lonely-${tag}`, provider_id: to.id });
  await page.goto("/catalog");
  const dialog = await popUp(page, `Delete lonely-${tag}`);
  await button(dialog, "Delete").click();
  await said(page, "Model deleted.");
});

inEach("a provider that moves needs its key's value again", async (page, tag) => {
  const key = await call("POST", "general-keys", { name: `BOUND_${tag}`, value: GOOD_VALUE });
  const made = await call("POST", "providers", { name: `Moving-${tag}`, kind: "openai", base_url: provider.base, general_key_id: key.id });
  elsewhere.calls.length = 0;
  await page.goto(`/catalog/providers/${made.id}/edit`);
  await page.locator("#base_url").fill(elsewhere.base);
  await button(page, "Save").click();
  await page.locator("#general_key_value").waitFor();
  await page.getByText("was saved for another address").waitFor();
  await check(page);
  await page.locator("#general_key_value").fill("sk-not-the-one-0123456789");
  await button(page, "Save").click();
  await page.locator("#general_key_value-error, [role=alert]").first().waitFor();
  await check(page);
  assert.equal((await call("GET", `providers/${made.id}`)).base_url, provider.base);
  await page.locator("#general_key_value").fill(GOOD_VALUE);
  await button(page, "Save").click();
  await said(page, "Changes saved.");
  assert.equal((await call("GET", `providers/${made.id}`)).base_url, elsewhere.base);
  assert.equal(elsewhere.calls.length, 0, "nothing was sent before it was asked for");
});

inEach("the audit log lists, filters and clears", async (page, tag) => {
  await call("POST", "general-keys", { name: `AUDITED_${tag}`, value: GOOD_VALUE });
  await page.goto("/audit");
  await check(page);
  assert.ok(await page.locator("tbody tr").count() > 0);
  assert.ok(!(await page.content()).includes(GOOD_VALUE));
  await page.goto("/audit?action=general_key.create");
  const row = page.locator("tbody tr").first();
  assert.match(await row.innerText(), /General key created/);
  assert.match(await row.innerText(), /Value\s+set/);
  await page.goto("/audit");
  await page.getByLabel("Which").fill(`AUDITED_${tag}`);
  await button(page, "Search").click();
  await page.waitForURL((url) => url.searchParams.get("target") === `AUDITED_${tag}`);
  assert.equal(await page.locator("tbody tr").count(), 1);
  await page.getByLabel("What").selectOption({ index: 1 });
  await page.getByLabel("Who").fill("nobody of that name");
  await button(page, "Search").click();
  await page.waitForURL((url) => url.searchParams.get("actor") === "nobody of that name");
  await page.getByText(/No events match/).waitFor();
  await check(page);
  await link(page, "Clear").first().click();
  await page.waitForURL((url) => url.pathname === "/audit" && !url.search);
});

for (const mode of TWO_MODES) {
  test(`other pages: /docs, nothing there (${mode.name})`, () => withPage(browser, server, mode, { cookie }, async (page) => {
    await page.goto("/docs");
    await check(page);
    assert.ok(!(await page.locator("main").innerText()).includes("`"), "code is code, without backticks");
    await link(page, "Console").click();
    await page.waitForURL("**/keys/general");
    await link(page, "API docs").click();
    await page.waitForURL("**/docs");
    await page.goto("/no-such-page");
    await page.getByRole("heading", { name: "Nothing here" }).waitFor();
    await check(page);
    await page.context().clearCookies();
    await page.goto("/no-such-page");
    await link(page, "Sign in").waitFor();
    await check(page);
  }));
}

inEach("what is wrong with a provider is told at once and in words", async (page) => {
  await page.goto("/catalog/providers/new");
  await page.locator("form.form").evaluate((form) => { form.noValidate = true; });
  await page.locator("#name").fill("with/slash");
  await page.locator("#base_url").fill("not a url");
  await button(page, "Save").click();
  await page.getByText("Enter a full address such as https://api.example.com/v1.").waitFor();
  assert.match(await page.locator("#name-error").innerText(), /must not hold a \//);
  await page.locator("form.form").evaluate((form) => { form.noValidate = true; });
  await page.locator("#name").fill("Fine");
  await page.locator("#base_url").fill("api.example.com/v1");
  await button(page, "Save").click();
  await page.getByText("Enter a full address such as https://api.example.com/v1.").waitFor();
  await page.locator("#kind").selectOption({ label: "Azure OpenAI" });
  await page.locator("#base_url").fill("");
  await button(page, "Save").click();
  await page.getByText("Azure OpenAI, which has no one public address").waitFor();
  assert.ok(!(await page.locator("main").innerText()).includes("azure-openai"));
});

inEach("several keys with weights, and limits, for a provider and a model", async (page, tag) => {
  const ids = [];
  for (const name of ["A", "B", "C"]) {
    ids.push((await call("POST", "general-keys", { name: `${name}_${tag}`, value: GOOD_VALUE })).id);
  }
  const [a, b, c] = ids;
  await page.goto("/catalog/providers/new");
  await page.locator("#name").fill(`Several-${tag}`);
  await page.locator("#base_url").fill(provider.base);
  await page.locator("#general_key_id").selectOption(a);
  await page.locator("summary", { hasText: "Several keys" }).click();
  await page.locator("#weight").fill("3");
  await page.locator("#general_key_id_2").selectOption(a);
  await button(page, "Save").click();
  await page.getByText("One key stands in two rows.").waitFor();
  await check(page);
  await page.locator("#general_key_id_2").selectOption(b);
  await page.locator("#weight_2").fill("1");
  await page.locator("summary", { hasText: "Limits" }).click();
  await check(page);
  await page.locator("form.form").evaluate((form) => { form.noValidate = true; });
  await page.locator("#head_seconds").fill("0");
  await button(page, "Save").click();
  await page.locator("#head_seconds-error").waitFor();
  await check(page);
  await page.locator("#head_seconds").fill("30");
  await page.locator("#calls_in_flight").fill("5");
  await button(page, "Save").click();
  await said(page, "Provider saved.");
  const of = async (kind, name) => (await call("GET", `${kind}?search=${name}`)).items[0];
  let made = await of("providers", `Several-${tag}`);
  assert.deepEqual(made.general_keys, [{ id: a, weight: 3 }, { id: b, weight: 1 }]);
  assert.deepEqual([made.limits.calls_in_flight, made.limits.head_seconds, made.limits.idle_seconds], [5, 30, null]);
  const card = page.locator(".card").filter({ hasText: `Several-${tag}` });
  assert.match(await card.innerText(), /weight 3/);
  assert.match(await card.innerText(), /Not asked yet/);
  await check(page);

  // Saved as it stands, nothing changes; one more key; then none but one, and no limit.
  await link(page, `Edit Several-${tag}`).click();
  assert.equal(await page.locator("#weight").inputValue(), "3");
  assert.equal(await page.locator("#calls_in_flight").inputValue(), "5");
  await button(page, "Save").click();
  await said(page, "Changes saved.");
  assert.deepEqual((await of("providers", `Several-${tag}`)).updated_at, made.updated_at);
  await link(page, `Edit Several-${tag}`).click();
  await page.locator("#general_key_id_3").selectOption(c);
  await page.locator("#weight_3").fill("2");
  await button(page, "Save").click();
  await said(page, "Changes saved.");
  made = await of("providers", `Several-${tag}`);
  assert.deepEqual(made.general_keys, [{ id: a, weight: 3 }, { id: c, weight: 2 }, { id: b, weight: 1 }]);
  assert.equal(made.limits.head_seconds, 30);
  await link(page, `Edit Several-${tag}`).click();
  await page.locator("#general_key_id_2").selectOption("");
  await page.locator("#general_key_id_3").selectOption("");
  await page.locator("#weight").fill("");
  await page.locator("#head_seconds").fill("");
  await button(page, "Save").click();
  await said(page, "Changes saved.");
  made = await of("providers", `Several-${tag}`);
  assert.deepEqual([made.general_keys, made.limits.head_seconds, made.limits.calls_in_flight], [[{ id: a, weight: 1 }], null, 5]);

  await card.getByRole("link", { name: "New model" }).click();
  await page.locator("#name").fill(`several-model-${tag}`);
  await page.locator("#general_key_id").selectOption(b);
  await page.locator("summary", { hasText: "Several keys" }).click();
  await page.locator("#general_key_id_2").selectOption(c);
  await check(page);
  await button(page, "Save").click();
  await said(page, "Model saved.");
  assert.deepEqual((await of("models", `several-model-${tag}`)).general_keys, [{ id: b, weight: 1 }, { id: c, weight: 1 }]);
});

inEach("two people edit a provider's keys: the second is told, and what they chose is kept", async (page, tag) => {
  const key = await call("POST", "general-keys", { name: `MINE_${tag}`, value: GOOD_VALUE });
  const made = await call("POST", "providers", { name: `Both-${tag}`, kind: "openai", base_url: provider.base });
  await page.goto(`/catalog/providers/${made.id}/edit`);
  await call("PATCH", `providers/${made.id}`, { limits: { calls_in_flight: 7 } });
  await page.locator("#general_key_id").selectOption(key.id);
  await page.locator("summary", { hasText: "Limits" }).click();
  await page.locator("#total_seconds").fill("60");
  await button(page, "Save").click();
  await page.getByRole("heading", { name: "This provider was changed meanwhile" }).waitFor();
  const told = await page.getByRole("table").innerText();
  assert.match(told, new RegExp(`MINE_${tag}`));
  assert.match(told, /calls in flight 7/);
  assert.match(told, /total seconds 60/);
  await check(page);
  await button(page, "Save mine instead").click();
  await said(page, "Changes saved.");
  const saved = await call("GET", `providers/${made.id}`);
  assert.deepEqual([saved.general_key_id, saved.limits.calls_in_flight, saved.limits.total_seconds], [key.id, null, 60]);
});

inEach("a key's health stands in the list, on cards and in pickers, and the list can be cut down to refused ones", async (page, tag) => {
  const bad = await call("POST", "general-keys", { name: `BAD_${tag}`, value: "sk-not-known-0123456789" });
  const good = await call("POST", "general-keys", { name: `GOOD_${tag}`, value: GOOD_VALUE });
  for (const [name, key] of [["Bad", bad], ["Good", good]]) {
    await call("POST", "providers", { name: `${name}-${tag}`, kind: "openai", base_url: provider.base, general_key_id: key.id });
    await call("POST", `general-keys/${key.id}/test`, {});
  }
  await until("the health of both", async () => {
    const [one, other] = await Promise.all([bad, good].map((key) => call("GET", `general-keys/${key.id}`)));
    return one.health.status === "refused" && other.health.status === "ok";
  });
  await page.goto("/keys/general");
  const row = (name) => page.getByRole("row").filter({ hasText: name });
  assert.match(await row(`BAD_${tag}`).innerText(), /Refused\s+just now/);
  assert.match(await row(`GOOD_${tag}`).innerText(), /Accepted\s+just now/);
  await check(page);
  await page.getByLabel("Health").selectOption("refused");
  await button(page, "Search").click();
  await page.waitForURL((url) => url.searchParams.get("status") === "refused");
  assert.equal(await row(`BAD_${tag}`).count(), 1);
  assert.equal(await row(`GOOD_${tag}`).count(), 0);
  await check(page);
  await link(page, `Edit BAD_${tag}`).click();
  await page.getByText("The provider’s words: Incorrect API key provided.").waitFor();
  await check(page);
  await page.goto("/catalog");
  assert.match(await page.locator(".card").filter({ hasText: `Bad-${tag}` }).innerText(), /Refused/);
  await check(page);
  await page.goto("/catalog/providers/new");
  assert.match(await page.locator("#general_key_id option").filter({ hasText: `BAD_${tag}` }).innerText(), /— refused$/);
});
