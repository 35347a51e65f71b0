// What is done with many things, by Tab, Space and Enter alone.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { TWO_MODES, api, claim, focused, launch, said, startServer, tabTo, withPage } from "./harness.mjs";

let browser, server, cookie, call;
before(async () => {
  [browser, server] = await Promise.all([launch(), startServer()]);
  cookie = await claim(server);
  call = api(server, cookie);
});
after(() => Promise.all([browser.close(), server.stop()]));

const inEach = (what, body) => {
  for (const mode of TWO_MODES) {
    test(`${what} (${mode.name})`, () => withPage(browser, server, mode, { cookie }, (page) => body(page, mode.script ? "s" : "n")));
  }
};

const press = (page, key) => page.keyboard.press(key);

inEach("a .env file is imported", async (page, tag) => {
  await page.goto("/keys/general");
  await tabTo(page, "Import from .env");
  await press(page, "Enter");
  await page.locator("#text").waitFor();
  await tabTo(page, "Lines of a .env file");
  await page.keyboard.insertText(`FIRST_${tag}_KEY=sk-test-value-of-it-ONE\nPORT_${tag}=8080\n`);
  await tabTo(page, "Look it over");
  await press(page, "Enter");
  await page.getByRole("heading", { name: "Look over the import" }).waitFor();
  await tabTo(page, `What to do with PORT_${tag}`);
  await press(page, "ArrowUp");
  assert.equal(await page.getByLabel(`What to do with PORT_${tag}`).inputValue(), "create");
  await tabTo(page, "Import");
  await press(page, "Enter");
  await said(page, "API keys imported.");
  await page.getByRole("row").filter({ hasText: `PORT_${tag}` }).waitFor();
});

inEach("an agent key is limited", async (page, tag) => {
  const key = await call("POST", "agent-keys", { name: `limited-${tag}` });
  await page.goto(`/keys/agent/${key.id}`);
  await tabTo(page, "LimitsNone: it may call every model from anywhere");
  await press(page, "Enter");
  await tabTo(page, "Requests a minute optional");
  await page.keyboard.type("60");
  await press(page, "Enter");
  await said(page, "saved");
  assert.equal((await call("GET", `agent-keys/${key.id}`)).limits.requests_per_minute, 60);
});

inEach("two of three agent keys are deleted", async (page, tag) => {
  for (const number of [1, 2, 3]) await call("POST", "agent-keys", { name: `many-${tag}-${number}` });
  await page.goto(`/keys/agent?search=many-${tag}&sort=name`);
  for (const number of [1, 3]) {
    await tabTo(page, `Choose many-${tag}-${number}`);
    await press(page, "Space");
  }
  await tabTo(page, "Delete chosen");
  await press(page, "Enter");
  await page.waitForURL("**/keys/agent/bulk");
  await tabTo(page, "Delete 2 keys");
  await press(page, "Enter");
  await said(page, "deleted");
  const left = await call("GET", `agent-keys?search=many-${tag}`);
  assert.deepEqual(left.items.map((key) => key.name), [`many-${tag}-2`]);
});

inEach("usage and the audit log are filtered", async (page) => {
  await page.goto("/usage");
  await tabTo(page, "Group by");
  await press(page, "ArrowDown");
  const chosen = await page.getByLabel("Group by").inputValue();
  await tabTo(page, "Show");
  await press(page, "Enter");
  await page.waitForURL((url) => url.searchParams.get("by") === chosen);
  await page.goto("/audit");
  await tabTo(page, "Who");
  await page.keyboard.type("nobody of that name");
  await press(page, "Enter");
  await page.getByRole("heading", { name: "No events match these filters" }).waitFor();
  assert.notEqual(await focused(page), "");
  await tabTo(page, "Clear");
  await press(page, "Enter");
  await page.getByRole("table").waitFor();
});
