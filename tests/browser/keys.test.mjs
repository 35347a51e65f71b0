// Both kinds of API key: made, found, edited, disabled, deleted.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { GOOD_VALUE, TWO_MODES, WIDE, api, button, check, claim, close, field, focused, launch, link, open, ours, popUp, said, send, startProvider, startServer, tabTo, testKey, until, withPage } from "./harness.mjs";

let browser, server, provider, cookie, call, local;
before(async () => {
  [browser, server, provider] = await Promise.all([launch(), startServer(), startProvider()]);
  cookie = await claim(server);
  call = api(server, cookie);
  const key = await call("POST", "general-keys", { name: "KEPT", value: GOOD_VALUE });
  local = await call("POST", "providers", { name: "Local", kind: "openai", base_url: provider.base, general_key_id: key.id });
  await call("POST", "models", { name: "chat-model", provider_id: local.id });
});
after(() => Promise.all([browser.close(), server.stop(), provider.stop()]));

const inEach = (what, body, modes = TWO_MODES) => {
  for (const mode of modes) {
    const tag = `${mode.script ? "s" : "n"}${mode.width}`;
    test(`${what} (${mode.name})`, () => withPage(browser, server, mode, { cookie }, (page) => body(page, tag)));
  }
};
const rowOf = (page, name) => page.getByRole("row").filter({ hasText: name });

inEach("a general key is made, tested, renamed, replaced and deleted", async (page, tag) => {
  const name = `MADE_${tag}`;
  await page.goto("/keys/general/new");
  await field(page, "API Key Name").fill(name);
  await page.locator("#value").fill("sk-wrong-0123456789abcdefXYZ");
  await page.locator("#provider_id").selectOption(local.id);
  const words = await testKey(page, button(page, "Test key"));
  assert.match(words, /Local refused the key/);
  assert.match(words, /Incorrect API key provided/);
  await check(page);
  await page.locator("#provider_id").selectOption({ index: 0 });
  await button(page, "Save").click();
  await said(page, "API key saved.");
  await link(page, `Edit ${name}`).click();
  await page.getByText("Leave empty to keep it").waitFor();
  assert.equal(await page.locator("#value").inputValue(), "", "the mask is no value");
  await check(page);
  await field(page, "API Key Name").fill(`${name}_NEW`);
  await button(page, "Save").click();
  await said(page, "Changes saved.");
  await link(page, `Edit ${name}_NEW`).click();
  await page.locator("#value").fill("sk-other-0123456789abcdefQRS");
  await button(page, "Save").click();
  await said(page, "Changes saved.");
  assert.match(await rowOf(page, `${name}_NEW`).innerText(), /QRS/);
  assert.doesNotMatch(await page.content(), /sk-other-0123/);

  const listed = page.url();
  let dialog = await popUp(page, `Delete ${name}_NEW`);
  assert.match(await dialog.innerText(), /Deleted API keys cannot be recovered and will no longer be usable\./);
  assert.match(await dialog.innerText(), /No provider or model uses this key/);
  await check(page);
  await link(dialog, "Cancel").click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  if (page.mode.script) {
    assert.equal(page.url(), listed);
    assert.equal(await focused(page), `Delete ${name}_NEW`, "the focus is back where it was");
    await popUp(page, `Delete ${name}_NEW`);
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
  }
  dialog = await popUp(page, `Delete ${name}_NEW`);
  await button(dialog, "Delete").click();
  await said(page, "API key deleted.");
  assert.equal(await rowOf(page, `${name}_NEW`).count(), 0);
});

inEach("Enter in a form saves it, and a refused form begins where it was refused", async (page, tag) => {
  await page.goto("/keys/general/new");
  await page.locator("#name").fill(`ENTER_${tag}`);
  await page.locator("#value").fill("has spaces in it");
  await page.keyboard.press("Enter");
  await page.locator("#value-error").waitFor();
  await page.waitForFunction(() => document.activeElement.id === "value");
  await page.keyboard.type(GOOD_VALUE);
  await page.keyboard.press("Enter");
  await said(page, "API key saved.");
  await link(page, `Edit ENTER_${tag}`).click();
  await page.locator("#name").fill(`ENTERED_${tag}`);
  await page.locator("#name").press("Enter");
  await said(page, "Changes saved.");
  await page.goto("/catalog");
  await link(page, "Edit chat-model").click();
  await page.locator("#upstream_model").press("Enter");
  await said(page, "Changes saved.");
  await page.goto("/keys/agent/new");
  await page.locator("#name").fill(`Refused-${tag}`);
  await page.locator("summary", { hasText: "Limits" }).click();
  await page.locator("#expires_in_days").fill("5");
  // As a browser without the check of its own would.
  await page.locator("#expires_in_days").evaluate((input) => { input.form.noValidate = true; input.value = "500"; });
  await page.locator("#name").press("Enter");
  await page.locator("#expires_in_days-error").waitFor();
  await page.waitForFunction(() => document.activeElement.id === "expires_in_days");
});

inEach("deleting a linked general key names what stops, and takes its name or a replacement", async (page, tag) => {
  const key = await call("POST", "general-keys", { name: `LINKED_${tag}`, value: GOOD_VALUE });
  const to = await call("POST", "providers", { name: `Linked-${tag}`, kind: "openai", base_url: provider.base, general_key_id: key.id });
  await page.goto(`/keys/general/${key.id}/delete`);
  const dialog = page.getByRole("dialog");
  await dialog.waitFor();
  assert.equal(await focused(page), "Cancel");
  assert.match(await dialog.innerText(), new RegExp(`This will stop working:\\s+Linked-${tag}`));
  await check(page);
  await button(dialog, "Delete").click();
  await page.locator("#confirm_name-error").waitFor();
  await check(page);
  await page.locator("#confirm_name").fill(`LINKED_${tag}`);
  await button(page.getByRole("dialog"), "Delete").click();
  await said(page, "API key deleted.");
  const unlinked = await call("GET", `providers/${to.id}`);
  assert.equal(unlinked.general_key_id ?? null, null);
  await page.goto(`/keys/general/${key.id}/edit`);
  await page.getByRole("heading", { name: "Nothing here" }).waitFor();
  await check(page);
});

inEach("an agent key is renamed, disabled, enabled and deleted", async (page, tag) => {
  const name = `Agent-${tag}`;
  const made = await call("POST", "agent-keys", { name });
  const chat = () => send(server, "POST", "/v1/chat/completions", { headers: { authorization: `Bearer ${made.secret}` }, json: { model: "chat-model", messages: [{ role: "user", content: "Hi" }] } });
  await page.goto("/keys/agent");
  await page.getByText("Agent API Keys expire after 90 days for security reasons").waitFor();
  await check(page);
  await link(page, `Edit ${name}`).click();
  await field(page, "API Key Name").fill(`${name}-2`);
  await button(page, "Save").click();
  await said(page, "Changes saved.");
  await link(page, `Edit ${name}-2`).click();
  await button(page, "Disable").click();
  await said(page, "Agent API Key disabled.");
  assert.equal((await chat()).status, 401);
  await page.goto(`/keys/agent/${made.id}/edit`);
  await check(page);
  await page.goto("/keys/agent?status=disabled");
  assert.match(await rowOf(page, `${name}-2`).innerText(), /Disabled/);
  await check(page);
  await link(page, `Edit ${name}-2`).click();
  await button(page, "Enable").click();
  await said(page, "Agent API Key enabled.");
  assert.equal((await chat()).status, 200);
  await until("the last use to be written", async () => (await call("GET", `agent-keys/${made.id}`)).last_used_at);
  await page.goto("/keys/agent");
  const dialog = await popUp(page, `Delete ${name}-2`);
  assert.match(await dialog.innerText(), /Deleted API keys cannot be recovered and will no longer be usable\./);
  await check(page);
  const confirm = page.locator("#confirm_name"); // asked for, since the key was used just now
  await confirm.fill("something else");
  await button(dialog, "Delete").click();
  await page.locator("#confirm_name-error").waitFor();
  await check(page);
  await confirm.fill(`${name}-2`);
  await button(page.getByRole("dialog"), "Delete").click();
  await said(page, "Agent API Key deleted.");
  assert.equal((await chat()).status, 401);
});

inEach("search finds, finds nothing, clears, and takes anything", async (page, tag) => {
  for (const name of [`100%_${tag}`, `it's "q" ${tag}`]) await call("POST", "agent-keys", { name });
  const search = async (text) => {
    await page.getByRole("searchbox").fill(text);
    await button(page, "Search").click();
    await page.waitForURL((url) => url.searchParams.get("search") === text);
  };
  await page.goto("/keys/agent");
  for (const [text, found] of [[`%_${tag}`, 1], [`'s "Q" ${tag}`, 1], [`0_${tag}`, 0], ["%%", 0], ["<b>&", 0], ["x".repeat(1000), 0]]) {
    await search(text);
    assert.equal(await page.locator("tbody tr").count(), found, text);
    if (!found) await page.getByText("No keys match").waitFor();
  }
  await check(page);
  await link(page, "Clear").first().click();
  await page.waitForURL((url) => url.pathname === "/keys/agent" && !url.search);
  if (page.mode.script) {
    await page.locator("h1").click();
    await page.keyboard.press("/");
    assert.equal(await focused(page), "Search agent API keys by name");
  }
  await page.goto("/keys/general?search=nothing-like-it");
  await page.getByText("No keys match").waitFor();
  await check(page);
});

inEach("names: HTML, emoji, wide and right-to-left are shown as they are; bidi controls, twins and long ones are refused", async (page, tag) => {
  const names = [`<b onclick=alert(1)>${tag}</b>`, `🔑🧑‍🚀 ${tag}`, "W".repeat(60) + tag.slice(0, 4), `مفتاح ${tag}`];
  for (const name of names) {
    await page.goto("/keys/general/new");
    await field(page, "API Key Name").fill(name);
    await page.locator("#value").fill(GOOD_VALUE);
    await button(page, "Save").click();
    await said(page, "API key saved.");
    await call("POST", "agent-keys", { name });
    await page.locator("tbody").getByText(name, { exact: true }).waitFor();
  }
  await check(page);
  await page.goto("/keys/agent");
  await check(page);
  await popUp(page, `Delete ${names[2]}`);
  await check(page);
  for (const [name, why] of [[`a\u202Eb${tag}`, "U+202E"], [names[3], "taken"]]) {
    await page.goto("/keys/agent/new");
    await field(page, "API Key Name").fill(name);
    await button(page, "Save").click();
    const error = page.locator("#name-error");
    await error.waitFor();
    assert.ok((await error.innerText()).includes(why) || why === "taken", await error.innerText());
    assert.equal(await field(page, "API Key Name").inputValue(), name, "what was typed stays");
    await check(page);
  }
});

inEach("a pop-up with long names fits a small screen, and Cancel leads back to where it was come from", async (page, tag) => {
  const name = "V".repeat(60) + tag.slice(-4);
  const key = await call("POST", "general-keys", { name, value: GOOD_VALUE });
  for (let i = 0; i < 8; i += 1) {
    await call("POST", "models", { name: `${"M".repeat(50)}-${tag}-${i}`, provider_id: local.id, general_key_id: key.id });
  }
  await page.setViewportSize({ width: 320, height: 640 });
  await page.goto(`/keys/general/${key.id}/delete`);
  await check(page);
  const cancel = await link(page.getByRole("dialog"), "Cancel").boundingBox();
  assert.ok(cancel.y + cancel.height <= 640, "the buttons are in sight");

  const agent = await call("POST", "agent-keys", { name: `Back-${tag}` });
  await page.goto(`/keys/agent/${agent.id}/edit`);
  await link(page, "Delete").click();
  await link(page.getByRole("dialog"), "Cancel").click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.waitForURL(`**/keys/agent/${agent.id}/edit`);
  assert.match(await page.locator("dl.facts:visible").innerText(), /\d\d?:\d\d:\d\d/, "exact times as text");
});

inEach("the show-once page shows once; limits hold", async (page, tag) => {
  await page.goto("/keys/agent/new");
  await field(page, "API Key Name").fill(`Once-${tag}`);
  await page.locator("summary", { hasText: "Limits" }).click();
  await page.locator("#expires_in_days").fill("5");
  await check(page);
  await button(page, "Save").click();
  const secret = await page.locator("#secret").inputValue();
  await page.reload();
  await page.getByRole("heading", { name: "The secret key was shown already" }).waitFor();
  assert.ok(!(await page.content()).includes(secret));
  await check(page);
  await page.goto("/keys/agent");
  assert.match(await rowOf(page, `Once-${tag}`).innerText(), /Expires in 5 days/);
});

test("leaving the show-once page before copying asks once", () => withPage(browser, server, WIDE, { cookie }, async (page) => {
  await page.goto("/keys/agent/new");
  await field(page, "API Key Name").fill("Left");
  await button(page, "Save").click();
  await page.locator("#secret").click();
  await link(page, "Close").click();
  await rowOf(page, "Left").waitFor();
  assert.deepEqual(page.questions, ["beforeunload"]);
}));

inEach("pressing Save twice makes one key", async (page, tag) => {
  await page.goto("/keys/general/new");
  await field(page, "API Key Name").fill(`TWICE_${tag}`);
  await page.locator("#value").fill(GOOD_VALUE);
  await button(page, "Save").dblclick();
  await page.locator("[data-flash], h1").first().waitFor();
  await page.goto(`/keys/general?search=TWICE_${tag}`);
  assert.equal(await page.locator("tbody tr").count(), 1);
  // Without the script the second press breaks off the first's answer.
  for (let i = page.problems.length; i--;) if (!page.mode.script && page.problems[i].includes("net::ERR_ABORTED")) page.problems.splice(i, 1);
});

test("one form sent twice at once makes one key, and shows its secret once", async () => {
  const form = await send(server, "GET", "/keys/agent/new", { headers: { cookie } });
  const nonce = form.text.match(/name="nonce" value="([^"]+)"/)[1];
  const post = () => send(server, "POST", "/keys/agent/new", { headers: { cookie, ...ours(server) }, form: { name: "At once", expires_in_days: "", nonce } });
  const answers = await Promise.all([post(), post(), post()]);
  assert.equal(answers.filter(({ text }) => text.includes('id="secret"')).length, 1);
  assert.ok(answers.every(({ status }) => status < 500));
  assert.equal((await call("GET", "agent-keys?search=At%20once")).data?.length ?? 1, 1);
});

inEach("two people edit the same key: the second is told, nothing is overwritten", async (page, tag) => {
  for (const [kind, path] of [["general-keys", "general"], ["agent-keys", "agent"]]) {
    const key = await call("POST", kind, kind === "agent-keys" ? { name: `Both-${tag}` } : { name: `Both-${tag}`, value: GOOD_VALUE });
    const id = key.id;
    await page.goto(`/keys/${path}/${id}/edit`);
    const other = await open(browser, server, page.mode, { cookie });
    await other.goto(`/keys/${path}/${id}/edit`);
    await field(other, "API Key Name").fill(`First-${tag}`);
    await button(other, "Save").click();
    await said(other, "Changes saved.");
    await close(other);
    await field(page, "API Key Name").fill(`Second-${tag}`);
    await button(page, "Save").click();
    await page.getByRole("heading", { name: "This key was changed meanwhile" }).waitFor();
    await check(page);
    assert.equal((await call("GET", `${kind}/${id}`)).name, `First-${tag}`);
    await button(page, "Save mine instead").click();
    await said(page, "Changes saved.");
    assert.equal((await call("GET", `${kind}/${id}`)).name, `Second-${tag}`);
  }
});

test("Back after Save shows the form, and saving it again changes nothing twice", () => withPage(browser, server, WIDE, { cookie }, async (page) => {
  await page.goto("/keys/general/new");
  await field(page, "API Key Name").fill("BACK");
  await page.locator("#value").fill(GOOD_VALUE);
  await button(page, "Save").click();
  await said(page, "API key saved.");
  await page.goBack();
  await field(page, "API Key Name").waitFor();
  assert.equal(await page.locator("#value").inputValue(), "", "a secret does not come back");
}));

inEach("an agent key is made by Tab and Enter alone", async (page, tag) => {
  await page.goto("/keys/general");
  await page.keyboard.press("Tab");
  assert.equal(await focused(page), "Skip to content");
  await tabTo(page, "Agent API Key");
  await page.keyboard.press("Enter");
  await page.waitForURL("**/keys/agent");
  await tabTo(page, "Create API Key");
  await page.keyboard.press("Enter");
  await tabTo(page, "Agent API Key");
  await page.keyboard.press("Enter");
  await page.waitForURL("**/keys/agent/new");
  await page.locator("#name").waitFor();
  await page.waitForFunction(() => document.activeElement?.id === "name").catch(() => tabTo(page, "API Key Name"));
  await page.keyboard.type(`Typed-${tag}`);
  await tabTo(page, "Save");
  await page.keyboard.press("Enter");
  await page.locator("#secret").waitFor();
  if (page.mode.script) {
    await tabTo(page, "Copy");
    await page.keyboard.press("Enter");
    await page.getByRole("status").filter({ hasText: "Copied" }).waitFor();
  }
  await tabTo(page, "Close");
  await page.keyboard.press("Enter");
  await rowOf(page, `Typed-${tag}`).waitFor();
});

inEach("several agent keys are disabled and deleted at once, after they are named", async (page, tag) => {
  const names = [1, 2, 3].map((number) => `Many-${tag}-${number}`);
  for (const name of names) await call("POST", "agent-keys", { name });
  await page.goto(`/keys/agent?search=Many-${tag}`);
  await button(page, "Disable chosen").click();
  await page.getByRole("heading", { name: "No keys chosen" }).waitFor();
  await page.goto(`/keys/agent?search=Many-${tag}`);
  for (const name of names.slice(0, 2)) await page.getByLabel(`Choose ${name}`).check();
  await button(page, "Disable chosen").click();
  await page.getByRole("heading", { name: "Disable these keys?" }).waitFor();
  assert.deepEqual(await page.locator("tbody .col-name").allInnerTexts(), names.slice(0, 2));
  await check(page);
  await button(page, "Disable 2 keys").click();
  await said(page, "Agent API Keys disabled.");
  await page.goto(`/keys/agent?search=Many-${tag}&status=disabled`);
  assert.equal(await page.locator("tbody tr").count(), 2);
  await page.goto(`/keys/agent?search=Many-${tag}`);
  if (page.mode.script) await page.getByLabel("All on this page").check();
  else for (const name of names) await page.getByLabel(`Choose ${name}`).check();
  await check(page);
  await button(page, "Delete chosen").click();
  await page.getByText("Deleted API keys cannot be recovered").waitFor();
  await check(page);
  await button(page, "Delete 3 keys").click();
  await said(page, "Agent API Keys deleted.");
  await page.goto(`/keys/agent?search=Many-${tag}`);
  await page.getByText(/No keys match/).waitFor();
});

inEach("an agent key is limited when it is made, and otherwise later", async (page, tag) => {
  const name = `Limited-${tag}`;
  await page.goto("/keys/agent/new");
  await field(page, "API Key Name").fill(name);
  await page.getByText("Limits", { exact: true }).click();
  await field(page, "Allowed models").fill("chat-*\nother");
  await field(page, "Allowed addresses").fill("nowhere");
  await field(page, "Requests a minute").fill("many");
  await button(page, "Save").click();
  await page.getByText("neither an address nor a network").waitFor();
  await page.getByText("must be a whole number").waitFor();
  assert.equal(await field(page, "Allowed models").inputValue(), "chat-*\nother");
  await check(page);
  await field(page, "Allowed addresses").fill("127.0.0.0/8");
  await field(page, "Requests a minute").fill("2");
  await button(page, "Save").click();
  const secret = await page.locator("#secret").inputValue();
  const chat = async (model) => (await send(server, "POST", "/v1/chat/completions", { headers: { authorization: `Bearer ${secret}` }, json: { model, messages: [] } })).status;
  assert.deepEqual([await chat("no-such"), await chat("chat-model"), await chat("chat-model"), await chat("chat-model")], [404, 200, 200, 429]);
  await page.locator("#secret").click();
  await link(page, "Close").click();
  await page.goto(`/keys/agent?search=${name}`);
  await link(page, name).click();
  await page.getByText("What is saved holds from the next call on.").waitFor();
  assert.equal(await field(page, "Allowed addresses").inputValue(), "127.0.0.0/8");
  await check(page);
  await field(page, "Allowed models").fill("other");
  await field(page, "Requests a minute").fill("");
  await button(page, "Save").click();
  await said(page, "Changes saved.");
  assert.equal(await chat("chat-model"), 403);
});
