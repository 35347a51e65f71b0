// Rows that somebody changed in the database: shown as damaged, of no use, and deletable.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { GOOD_VALUE, TWO_MODES, api, button, check, claim, launch, link, popUp, said, send, startProvider, startServer, until, withPage } from "./harness.mjs";

let browser, server, provider, cookie, call;
before(async () => {
  [browser, server, provider] = await Promise.all([launch(), startServer(), startProvider()]);
  cookie = await claim(server);
  call = api(server, cookie);
});
after(() => Promise.all([browser.close(), server.stop(), provider.stop()]));

function damage(table, column, value, id) {
  const change = `import sqlite3, sys
with sqlite3.connect(sys.argv[1], timeout=10) as database:
    database.execute("UPDATE ${table} SET ${column} = ? WHERE id = ?", sys.argv[2:])`;
  execFileSync("python3", ["-c", change, join(server.dir, "data", "keyward.db"), String(value), id]);
}

for (const mode of TWO_MODES) {
  test(`damaged keys are listed, explained and deleted (${mode.name})`, () => withPage(browser, server, mode, { cookie }, async (page) => {
    const tag = mode.script ? "s" : "n";
    const general = await call("POST", "general-keys", { name: `GENERAL_${tag}`, value: GOOD_VALUE });
    await call("POST", "providers", { name: `Linked-${tag}`, kind: "openai", base_url: provider.base, general_key_id: general.id });
    const agent = await call("POST", "agent-keys", { name: `Agent-${tag}` });
    damage("general_keys", "name", `DAMAGED_${tag}`, general.id);
    damage("agent_keys", "expires_at", 4102444800000, agent.id);

    const refused = await send(server, "GET", "/v1/models", { headers: { authorization: `Bearer ${agent.secret}` } });
    assert.ok([401, 503].includes(refused.status), `${refused.status}`);
    for (const [list, name, key] of [["/keys/agent", `Agent-${tag}`, agent], ["/keys/general", `DAMAGED_${tag}`, general]]) {
      await page.goto(list);
      const row = page.getByRole("row").filter({ hasText: name });
      assert.match(await row.innerText(), /Damaged/);
      await check(page);
      await link(page, `Edit ${name}`).click();
      await page.getByText("The integrity check failed.").waitFor();
      await check(page);
      await page.goto("/audit");
      await page.getByRole("heading", { name: "Audit log" }).waitFor();
      await page.goto("/catalog");
      await page.getByRole("heading", { name: `Linked-${tag}` }).waitFor();
      await page.goto(list);
      const dialog = await popUp(page, `Delete ${name}`);
      await check(page);
      if (key === general) await page.locator("#confirm_name").fill(name);
      await button(dialog, "Delete").click();
      await said(page, "deleted.");
      assert.equal(await page.getByRole("row").filter({ hasText: name }).count(), 0);
    }
    const read = await send(server, "GET", `/api/v1/agent-keys/${agent.id}`, { headers: { cookie } });
    assert.equal(read.status, 404);
  }));
}

for (const mode of TWO_MODES) {
  test(`damaged models and providers are listed, explained and deleted (${mode.name})`, () => withPage(browser, server, mode, { cookie }, async (page) => {
    const tag = mode.script ? "s" : "n";
    const house = await call("POST", "providers", { name: `House-${tag}`, kind: "openai", base_url: provider.base });
    const model = await call("POST", "models", { name: `model-${tag}`, provider_id: house.id });
    const stray = await call("POST", "models", { name: `stray-${tag}`, provider_id: house.id });
    damage("models", "upstream_model", "dearer", model.id);
    damage("models", "provider_id", "pr_gone", stray.id);
    await page.goto("/catalog");
    await until("the change to be noticed", async () => {
      await page.reload();
      return page.getByText("names a provider that is not there").count();
    });
    assert.match(await page.getByRole("row").filter({ hasText: `model-${tag}` }).innerText(), /Damaged/);
    await check(page);
    await link(page, `Edit model-${tag}`).click();
    await page.getByText("The integrity check failed.").waitFor();
    await check(page);
    await page.goto("/catalog");
    const dialog = await popUp(page, "Delete it");
    await check(page);
    await button(dialog, "Delete").click();
    await said(page, "Model deleted.");

    damage("providers", "base_url", "http://127.0.0.1:9/v1", house.id);
    await page.goto("/catalog");
    assert.match(await page.locator(".card").filter({ hasText: `House-${tag}` }).innerText(), /Damaged/);
    await check(page);
    await link(page, `Edit House-${tag}`).click();
    await page.getByText("The integrity check failed.").waitFor();
    await check(page);
    await link(page, "Delete").click();
    await page.getByRole("dialog").getByText(`model-${tag}`).waitFor();
    await button(page.getByRole("dialog"), "Delete").click();
    await said(page, "Provider deleted.");
    assert.equal(await page.getByText(`House-${tag}`).count(), 0);
  }));
}
