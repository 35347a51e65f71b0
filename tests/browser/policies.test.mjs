// Policies: made, refused, used, edited by two, deleted, damaged.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { MODES, TWO_MODES, api, button, check, claim, focused, launch, link, popUp, said, startServer, tabTo, withPage } from "./harness.mjs";

let browser, server, cookie, call;
before(async () => {
  [browser, server] = await Promise.all([launch(), startServer()]);
  cookie = await claim(server);
  call = api(server, cookie);
});
after(() => Promise.all([browser.close(), server.stop()]));

const inEach = (modes, what, body) => {
  for (const mode of modes) {
    const tag = `${mode.script ? "s" : "n"}${mode.width}`;
    test(`${what} (${mode.name})`, () => withPage(browser, server, mode, { cookie }, (page) => body(page, tag, mode)));
  }
};

const pictured = async (page, name, mode) => {
  if (process.env.LOOK) await page.screenshot({ path: `${process.env.LOOK}/${name}-${mode.name.replace(/\W+/g, "-")}.png`, fullPage: true });
};

/// Lets a form through that the browser itself would not send.
const unjudged = (page) => page.locator("form.form").evaluate((form) => { form.noValidate = true; });
const rowOf = (page, name) => page.getByRole("row").filter({ hasText: name });
const WRONG = { name: "with/slash", tags: "Prod", models: "gpt*", routes: "search", cache_seconds: "301" };

async function typeWrong(page) {
  await unjudged(page);
  for (const [field, text] of Object.entries(WRONG)) await page.locator(`#${field}`).fill(text);
}

/// Every field says what is wrong with it, and holds what was typed.
async function toldOfAll(page) {
  for (const [field, text] of Object.entries(WRONG)) {
    await page.locator(`#${field}-error`).waitFor();
    assert.equal(await page.locator(`#${field}`).inputValue(), text, field);
    assert.match(await page.locator(`#${field}`).getAttribute("aria-describedby"), new RegExp(`${field}-error`));
  }
}

inEach(MODES, "a policy is refused for all that is wrong with it, made, used, edited and deleted", async (page, tag, mode) => {
  const name = `search-${tag}`;
  await page.goto("/settings/policies");
  await check(page);
  await link(page, "New policy").click();
  await page.getByRole("heading", { name: "New policy" }).waitFor();
  await check(page);
  await typeWrong(page);
  await page.locator("#routes_from").selectOption("x-forwarded-uri");
  await button(page, "Create").click();
  await toldOfAll(page);
  assert.equal(await page.locator("#routes_from").inputValue(), "x-forwarded-uri");
  await check(page);
  await pictured(page, "policy-refused", mode);
  await page.locator("#name").fill(name);
  await page.locator("#tags").fill("search, prod");
  await page.locator("#models").fill("gpt-5\n\n gpt-5-mini ");
  await page.locator("#routes").fill("/search*\n/find");
  await page.locator("#cache_seconds").fill("30");
  await button(page, "Create").click();
  await said(page, "Policy saved.");
  const { items: [made] } = await call("GET", `policies?search=${name}`);
  assert.deepEqual(made.requires, {
    models: ["gpt-5", "gpt-5-mini"], tags: ["prod", "search"], routes: ["/search*", "/find"], routes_from: "x-forwarded-uri", cache_seconds: 30,
  });
  const row = rowOf(page, name);
  const url = `${server.base}/auth/policies/${name}/verify`;
  assert.equal(await row.locator("code").innerText(), url);
  const told = await row.innerText();
  for (const words of ["Has the tags prod, search", "May call gpt-5, gpt-5-mini", "Calls one of /search*, /find in X-Forwarded-Uri", "30 seconds"]) {
    assert.ok(told.includes(words), `${words}: ${told}`);
  }
  if (mode.script) {
    await row.getByRole("button", { name: "Copy" }).click();
    await page.getByRole("status").filter({ hasText: "Copied" }).waitFor({ state: "attached" });
  }
  await check(page);
  await pictured(page, "policies", mode);

  await row.getByRole("link", { name: "How to use it" }).click();
  await page.getByRole("heading", { name: `How to use ${name}` }).waitFor();
  assert.equal(await page.locator("#url").innerText(), url);
  assert.match(await page.locator("#proxy").innerText(), new RegExp(`^forward_auth ${server.base} \\{[^}]*\\}\\s+uri /auth/policies/${name}/verify\\s`));
  await check(page);
  await pictured(page, "policy-use", mode);
  await link(page, "Close").click();

  await link(page, `Edit ${name}`).click();
  assert.equal(await page.locator("#routes").inputValue(), "/search*\n/find");
  assert.equal(await page.locator("#tags").inputValue(), "prod search");
  await check(page);
  await typeWrong(page);
  await button(page, "Save").click();
  await toldOfAll(page);
  await page.getByRole("heading", { name: `Edit ${name}` }).waitFor();
  await check(page);
  await page.locator("#name").fill(`${name}-2`);
  for (const field of ["tags", "models", "routes", "cache_seconds"]) await page.locator(`#${field}`).fill("");
  await page.locator("#routes_from").selectOption("path");
  await button(page, "Save").click();
  await said(page, "Changes saved.");
  const edited = await call("GET", `policies/${made.id}`);
  assert.deepEqual([edited.name, edited.requires], [`${name}-2`, { models: [], tags: [], routes: [], routes_from: "path", cache_seconds: 0 }]);
  assert.match(await rowOf(page, `${name}-2`).innerText(), /Only a good key[^]*Not kept/);
  await rowOf(page, `${name}-2`).getByRole("link", { name: "How to use it" }).click();
  assert.match(await page.locator("#proxy").innerText(), /auth_request \/_keyward;/);
  await check(page);

  await page.goto(`/settings/policies?search=${name}`);
  const dialog = await popUp(page, `Delete ${name}-2`);
  assert.match(await dialog.innerText(), /lets nobody in/);
  await check(page);
  await link(dialog, "Cancel").click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await popUp(page, `Delete ${name}-2`);
  await call("PATCH", `policies/${made.id}`, { requires: { tags: ["prod"] } });
  await button(page.getByRole("dialog"), "Delete").click();
  await page.getByText("It was changed after you had opened this.").waitFor();
  await check(page);
  await button(page.getByRole("dialog"), "Delete").click();
  await said(page, "Policy deleted.");
  assert.equal((await call("GET", `policies?search=${name}`)).total, 0);
});

inEach(TWO_MODES, "two people edit a policy: the second is told, and what they typed is kept", async (page, tag) => {
  const made = await call("POST", "policies", { name: `both-${tag}`, requires: { tags: ["prod"], cache_seconds: 10 } });
  await page.goto(`/settings/policies/${made.id}/edit`);
  await call("PATCH", `policies/${made.id}`, { requires: { routes: ["/theirs"] } });
  await page.locator("#routes").fill("/mine\n/ours");
  await button(page, "Save").click();
  await page.getByRole("heading", { name: "This policy was changed meanwhile" }).waitFor();
  const told = await page.getByRole("table").innerText();
  assert.ok(told.includes("/theirs") && told.includes("/mine, /ours"), told);
  await check(page);
  assert.deepEqual((await call("GET", `policies/${made.id}`)).requires.routes, ["/theirs"]);
  await button(page, "Save mine instead").click();
  await said(page, "Changes saved.");
  const { requires } = await call("GET", `policies/${made.id}`);
  assert.deepEqual([requires.routes, requires.tags, requires.cache_seconds], [["/mine", "/ours"], ["prod"], 10]);
  await call("DELETE", `policies/${made.id}`);
});

inEach(TWO_MODES, "a damaged policy is listed, explained and deleted", async (page, tag) => {
  const name = `damaged-${tag}`;
  const made = await call("POST", "policies", { name, requires: { tags: ["prod"] } });
  const change = `import sqlite3, sys
with sqlite3.connect(sys.argv[1], timeout=10) as database:
    database.execute("UPDATE policies SET requires = '{}' WHERE id = ?", sys.argv[2:])`;
  execFileSync("python3", ["-c", change, join(server.dir, "data", "keyward.db"), made.id]);
  await page.goto(`/settings/policies?search=${name}`);
  assert.match(await rowOf(page, name).innerText(), /Damaged[^]*Nobody is let in/);
  await check(page);
  await link(page, `Edit ${name}`).click();
  await page.getByText("The integrity check failed.").waitFor();
  await check(page);
  const dialog = await popUp(page, "Delete");
  await check(page);
  await button(dialog, "Delete").click();
  await said(page, "Policy deleted.");
  assert.equal(await rowOf(page, name).count(), 0);
});

inEach(TWO_MODES, "a policy is made and deleted by Tab and Enter alone", async (page, tag) => {
  const name = `keys-${tag}`;
  await page.goto("/settings/policies");
  await tabTo(page, "New policy");
  await page.keyboard.press("Enter");
  await page.locator("#name:focus").waitFor();
  assert.equal(await focused(page), "Name");
  await page.keyboard.type(name);
  await tabTo(page, "Tags optional");
  await page.keyboard.type("prod");
  await tabTo(page, "Create");
  await page.keyboard.press("Enter");
  await said(page, "Policy saved.");
  await tabTo(page, `Delete ${name}`);
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  await tabTo(page, "Delete");
  await page.keyboard.press("Enter");
  await said(page, "Policy deleted.");
});
