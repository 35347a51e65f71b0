// An agent key's page: its secrets and their rotation, its last days.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { GOOD_VALUE, TWO_MODES, api, button, check, claim, launch, link, popUp, said, send, startProvider, startServer, until, withPage } from "./harness.mjs";

let browser, server, provider, cookie, call;
before(async () => {
  [browser, server, provider] = await Promise.all([launch(), startServer(), startProvider()]);
  cookie = await claim(server);
  call = api(server, cookie);
  const key = await call("POST", "general-keys", { name: "KEPT", value: GOOD_VALUE });
  const local = await call("POST", "providers", { name: "Local", kind: "openai", base_url: provider.base, general_key_id: key.id });
  await call("POST", "models", { name: "chat-model", provider_id: local.id });
});
after(() => Promise.all([browser.close(), server.stop(), provider.stop()]));

const inEach = (what, body) => {
  for (const mode of TWO_MODES) {
    test(`${what} (${mode.name})`, () => withPage(browser, server, mode, { cookie }, (page) => body(page, mode.script ? "s" : "n")));
  }
};
const chat = async (secret, model = "chat-model") =>
  (await send(server, "POST", "/v1/chat/completions", { headers: { authorization: `Bearer ${secret}` }, json: { model, messages: [{ role: "user", content: "Hi" }] } })).status;

inEach("a key is rotated, its old secret is seen to be called, and is retired", async (page, tag) => {
  const made = await call("POST", "agent-keys", { name: `Turning-${tag}` });
  assert.equal(await chat(made.secret), 200);
  await page.goto("/keys/agent");
  await link(page, `Turning-${tag}`).click();
  await page.getByRole("heading", { name: `Turning-${tag}` }).waitFor();
  const secrets = page.getByRole("table", { name: "Secrets" });
  assert.equal(await secrets.locator("tbody tr").count(), 1);
  assert.match(await secrets.innerText(), /Current/);
  await check(page);

  await page.getByLabel("The old secret lives on for").selectOption({ label: "1 hour" });
  await button(page, "Rotate").click();
  await page.getByRole("heading", { name: "Agent API Key rotated" }).waitFor();
  const secret = await page.locator("#secret").inputValue();
  assert.notEqual(secret, made.secret);
  await page.getByText("Good until").waitFor();
  await check(page);
  await page.reload();
  await page.getByRole("heading", { name: "The secret key was shown already" }).waitFor();
  assert.ok(!(await page.content()).includes(secret));
  assert.equal((await call("GET", `agent-keys/${made.id}/secrets`)).items.length, 2, "rotated once");

  await page.goto(`/keys/agent/${made.id}`);
  assert.match(await secrets.innerText(), /Replaced, still good/);
  await page.getByText("It was not called since the rotation.").waitFor();
  assert.equal(await button(page, "Rotate").count(), 0, "one rotation at a time");
  await check(page);
  assert.deepEqual([await chat(made.secret), await chat(secret)], [200, 200]);
  await page.reload();
  await page.getByText("It is still called, last").waitFor();
  await check(page);
  await button(page, "Retire").click();
  await said(page, "Old secret retired.");
  assert.deepEqual([await chat(made.secret), await chat(secret)], [401, 200]);
  assert.match(await secrets.innerText(), /Ended/);
  await check(page);

  await page.getByLabel("The old secret lives on for").selectOption({ label: "Not at all: it ends at once" });
  await button(page, "Rotate").click();
  await page.getByText("Ended at once").waitFor();
  const third = await page.locator("#secret").inputValue();
  assert.deepEqual([await chat(secret), await chat(third)], [401, 200]);
  if (page.mode.script) await page.getByText("First call received").waitFor();
  await page.locator("#secret").click();
  await link(page, "Close").click();
  await page.getByRole("heading", { name: `Turning-${tag}` }).waitFor();
});

inEach("the last seven days stand as a chart and as figures", async (page, tag) => {
  const made = await call("POST", "agent-keys", { name: `Counted-${tag}` });
  await page.goto(`/keys/agent/${made.id}`);
  await page.getByText("No call with this key was counted.").waitFor();
  for (let i = 0; i < 3; i += 1) assert.equal(await chat(made.secret), 200);
  assert.equal(await chat(made.secret, "no-such-model"), 404);
  await until("four calls to be counted", async () => {
    await page.reload();
    return (await page.getByText("From where").count()) && (await page.getByRole("img", { name: /^Calls in the last 7 days: 4 in all, 1 failed/ }).count());
  });
  await page.getByText("Table", { exact: true }).click();
  const days = page.getByRole("table", { name: "Usage in the last 7 days" });
  assert.match((await days.locator("tbody tr").last().innerText()).replace(/[A-Za-z]+/g, " "), /4\s+1\s+9\s+12/);
  assert.equal(await days.locator("tbody tr").count(), 7);
  assert.equal(await page.getByRole("img", { name: /^Calls/ }).locator(".chart-bar").count(), 1);
  assert.match(await page.getByRole("table", { name: "From where" }).innerText(), /127\.0\.0\.1/);
  await check(page);
  await page.goto(`/keys/agent?search=Counted-${tag}`);
  await page.getByRole("img", { name: "4 calls in the last 7 days" }).waitFor();
  await check(page);
});

inEach("a key that is disabled or expired cannot be rotated, and one is deleted from its page", async (page, tag) => {
  const made = await call("POST", "agent-keys", { name: `Off-${tag}` });
  await page.goto(`/keys/agent/${made.id}`);
  await button(page, "Disable").click();
  await said(page, "Agent API Key disabled.");
  await link(page, `Off-${tag}`).click();
  await button(page, "Enable").waitFor();
  assert.equal(await button(page, "Rotate").count(), 0);
  await check(page);
  const dialog = await popUp(page, "Delete");
  await button(dialog, "Delete").click();
  await said(page, "Agent API Key deleted.");
  assert.equal(await chat(made.secret), 401);
});
