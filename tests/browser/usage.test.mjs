// Overview and Usage: what needs attention, what was called and what it cost.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { GOOD_VALUE, MODES, api, button, check, claim, field, launch, link, said, send, startProvider, startServer, until, withPage } from "./harness.mjs";

let browser, server, cookie, call, provider, model;
before(async () => {
  [browser, server, provider] = await Promise.all([launch(), startServer(), startProvider()]);
  cookie = await claim(server);
  call = api(server, cookie);
  const key = await call("POST", "general-keys", { name: "PROVIDER_KEY", value: GOOD_VALUE });
  const made = await call("POST", "providers", { name: "local", kind: "openai-compatible", base_url: provider.base, general_key_id: key.id });
  model = await call("POST", "models", { name: "small", provider_id: made.id });
});
after(() => Promise.all([browser.close(), server.stop(), provider.stop()]));

async function chat(secret, name = "small") {
  const answer = await send(server, "POST", "/v1/chat/completions", { headers: { authorization: `Bearer ${secret}` }, json: { model: name, messages: [] } });
  return answer.status;
}

for (const mode of MODES) {
  test(`from a price to a cost, by whom and over which time (${mode.name})`, () => withPage(browser, server, mode, { cookie }, async (page) => {
    const name = `Costly ${mode.name}`;
    await page.goto(`/catalog/models/${model.id}/edit`);
    await field(page, "Input price").fill("two");
    await button(page, "Save").click();
    await page.getByText("is not a price: write it like 2.50").waitFor();
    await check(page);
    await field(page, "Input price").fill("1000.5");
    await field(page, "Output price").fill("2000");
    await button(page, "Save").click();
    await said(page, "Changes saved.");
    await page.goto(`/catalog/models/${model.id}/edit`);
    assert.equal(await field(page, "Input price").inputValue(), "1000.5");

    const made = await call("POST", "agent-keys", { name });
    assert.deepEqual([await chat(made.secret), await chat(made.secret), await chat(made.secret, "no-such")], [200, 200, 404]);
    await page.goto("/usage");
    const row = page.getByRole("row").filter({ hasText: name });
    // Twice three tokens sent and four answered: 0.0030015 + 0.008 each.
    await until("the calls to be counted", async () => {
      await page.reload();
      return (await row.count()) && /3\s+1\s+6\s+8\s+0\.0220/.test((await row.innerText()).replace(/[A-Z][a-z]+( [a-z]+)?/g, " "));
    });
    await page.getByRole("img", { name: /^Cost in the last 30 days/ }).waitFor();
    await check(page);
    await page.getByLabel("Group by").selectOption({ label: "Model" });
    await page.getByLabel("Time", { exact: true }).selectOption({ label: "Last 24 hours" });
    await button(page, "Show").click();
    await page.waitForURL((url) => url.searchParams.get("by") === "model" && url.searchParams.get("period") === "24h");
    await page.getByRole("row").filter({ hasText: "small" }).first().waitFor();
    await page.getByText("Table", { exact: true }).click();
    assert.equal(await page.getByRole("table", { name: "Usage in the last 24 hours" }).locator("tbody tr").count(), 24);
    await check(page);
    const csv = await send(server, "GET", await link(page, "CSV").getAttribute("href"), { headers: { cookie } });
    assert.match(csv.text, /^key,name,requests,/);
    assert.match(csv.text, /"small","small",/);
  }));

  test(`what needs attention leads to where it is mended (${mode.name})`, () => withPage(browser, server, mode, { cookie }, async (page) => {
    const name = `Ending ${mode.name}`;
    const made = await call("POST", "agent-keys", { name, expires_in_days: 5 });
    await page.goto("/overview");
    assert.equal(await page.getByText(`${name} ends`).count(), 0, "a key that nobody uses may end");
    assert.equal(await chat(made.secret), 200);
    await until("the key to be told of", async () => {
      await page.reload();
      return page.getByText(`${name} ends in 4 days`).count();
    });
    await check(page);
    await call("POST", `agent-keys/${made.id}/disable`);
    assert.equal(await chat(made.secret), 401);
    await until("the calls in vain to be told of", async () => {
      await page.reload();
      return page.getByText(`${name} is disabled, and is still called`).count();
    });
    await page.getByText(/from 127\.0\.0\.1/).first().waitFor();
    await check(page);
    await link(page, name).click();
    await button(page, "Enable").click();
    await said(page, "Agent API Key enabled.");
    await call("DELETE", `agent-keys/${made.id}`);
  }));
}
