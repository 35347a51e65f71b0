// Default limits, budgets and tags of agent keys, services, webhooks.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { MODES, api, button, check, claim, launch, said, startServer, withPage } from "./harness.mjs";

let browser, server, cookie, call;
before(async () => {
  [browser, server] = await Promise.all([launch(), startServer()]);
  cookie = await claim(server);
  call = api(server, cookie);
});
after(() => Promise.all([browser.close(), server.stop()]));

const inEach = (what, body) => {
  for (const mode of MODES) {
    test(`${what} (${mode.name})`, () => withPage(browser, server, mode, { cookie }, (page) => body(page, mode)));
  }
};

const pictured = async (page, name, mode) => {
  if (process.env.LOOK) await page.screenshot({ path: `${process.env.LOOK}/${name}-${mode.name.replace(/\W+/g, "-")}.png`, fullPage: true });
};

inEach("default limits are set, told of at a key, and taken away", async (page, mode) => {
  await page.goto("/settings/limits");
  await check(page);
  await page.getByLabel("Requests a minute").fill("many");
  await page.getByLabel("Money a month").fill("20.50");
  await button(page, "Save").click();
  await page.getByText("must be a whole number from 1 to 1,000,000").waitFor();
  await check(page);
  await pictured(page, "defaults", mode);
  assert.equal(await page.getByLabel("Money a month").inputValue(), "20.50");
  await page.getByLabel("Requests a minute").fill("60");
  await button(page, "Save").click();
  await said(page, "Default limits saved.");
  const name = `spender-${mode.name}`.slice(0, 60);
  const key = await call("POST", "agent-keys", { name, tags: ["prod", "team:search"], description: "For the search" });
  assert.equal(key.effective_limits.requests_per_minute, 60);
  await page.goto(`/keys/agent/${key.id}`);
  await page.getByRole("heading", { name: "Budgets" }).waitFor();
  await page.getByText("20.50 a month").waitFor();
  await page.locator("summary", { hasText: "Limits" }).click();
  await page.getByText("Where a field is left empty, the default limit holds").waitFor();
  await check(page);
  await pictured(page, "key", mode);
  await page.getByLabel("Tokens a day").fill("1000");
  await page.getByLabel("Tags").fill("prod eu");
  await button(page, "Save").click();
  await said(page, "saved");
  const saved = await call("GET", `agent-keys/${key.id}`);
  assert.deepEqual([saved.tags, saved.limits.budgets], [["eu", "prod"], [{ period: "day", unit: "tokens", amount: 1000 }]]);
  await page.goto("/keys/agent?tag=eu");
  await page.getByRole("link", { name }).first().waitFor();
  await check(page);
  await pictured(page, "tags", mode);
  await call("DELETE", `agent-keys/${key.id}`);
  await call("PATCH", "agent-key-defaults", { limits: { requests_per_minute: null, budgets: null } });
});

inEach("a service is registered, and its card says where agents call it", async (page, mode) => {
  await page.goto("/catalog/providers/new");
  await page.getByLabel("Name").first().fill(`weather ${mode.name}`.slice(0, 60));
  await page.getByLabel("Kind").selectOption("service");
  await page.getByLabel("Base URL").fill(`${server.base.replace(/:\d+$/, ":9")}/mcp`);
  await page.getByLabel("Header of its key").fill("X-Service-Token");
  await check(page);
  await pictured(page, "service-form", mode);
  await button(page, "Save").click();
  await page.getByText("/agents/weather").first().waitFor();
  await check(page);
  await pictured(page, "service-card", mode);
  const { items } = await call("GET", "providers?search=weather");
  assert.equal(items[0].credential_header, "x-service-token");
  for (const provider of items) await call("DELETE", `providers/${provider.id}`);
});

inEach("a webhook is made, its secret shown once, its messages told, and it is deleted", async (page, mode) => {
  await page.goto("/settings/webhooks");
  await check(page);
  await page.getByLabel("Name").fill(`hook ${mode.name}`.slice(0, 60));
  await page.getByLabel("URL").fill("ftp://example.com/");
  await button(page, "Create").click();
  await page.getByText("must start with https://").waitFor();
  await page.getByLabel("URL").fill(`${server.base.replace(/:\d+$/, ":9")}/hook`);
  await button(page, "Create").click();
  const secret = await page.locator("#secret").inputValue();
  assert.match(secret, /^whsec_/);
  await check(page);
  await page.goto("/settings/webhooks");
  assert.ok(!(await page.content()).includes(secret));
  await page.getByRole("button", { name: "Send a test to" }).click();
  await said(page, "A test is on its way");
  await check(page);
  await pictured(page, "webhooks", mode);
  const { items: [made] } = await call("GET", "webhooks");
  await page.getByRole("link", { name: "Edit hook" }).click();
  assert.equal(await page.getByLabel("URL").inputValue(), "", "only its host is shown again");
  await check(page);
  await page.getByLabel("Name").fill(" ");
  await page.getByLabel("URL").fill("ftp://example.com/");
  await page.getByLabel("agent_key.ending").check();
  await button(page, "Save").click();
  await page.locator("#name-error").waitFor();
  await page.locator("#url-error").waitFor();
  assert.ok(await page.getByLabel("agent_key.ending").isChecked(), "what was chosen is kept");
  await check(page);
  await pictured(page, "webhook-edit", mode);
  await page.getByLabel("Name").fill(`hook-2 ${mode.name}`.slice(0, 60));
  await page.getByLabel("URL").fill("");
  await call("PATCH", `webhooks/${made.id}`, { events: ["general_key.refused"] });
  await button(page, "Save").click();
  await page.getByRole("heading", { name: "This webhook was changed meanwhile" }).waitFor();
  await check(page);
  await button(page, "Save mine instead").click();
  await said(page, "Changes saved.");
  const saved = await call("GET", `webhooks/${made.id}`);
  assert.deepEqual([saved.name.startsWith("hook-2"), saved.url, saved.events], [true, made.url, ["agent_key.ending"]]);
  await page.getByRole("button", { name: "Delete hook" }).click();
  await said(page, "Webhook deleted.");
});
