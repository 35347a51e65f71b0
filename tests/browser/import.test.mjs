// Importing a provider's models.

import assert from "node:assert/strict";
import http from "node:http";
import { after, before, test } from "node:test";

import { GOOD_VALUE, MODES, api, button, check, claim, launch, link, said, startServer, withPage } from "./harness.mjs";

let browser, server, cookie, call, lists, names = [];
before(async () => {
  lists = http.createServer((request, answer) => {
    const known = request.headers.authorization === `Bearer ${GOOD_VALUE}`;
    const body = known ? { object: "list", data: names.map((id) => ({ id })) } : { error: { message: "Incorrect API key provided." } };
    answer.writeHead(known ? 200 : 401, { "content-type": "application/json" }).end(JSON.stringify(body));
  }).listen(0, "127.0.0.1");
  [browser, server] = await Promise.all([launch(), startServer()]);
  cookie = await claim(server);
  call = api(server, cookie);
});
after(() => Promise.all([browser.close(), server.stop(), new Promise((done) => { lists.closeAllConnections(); lists.close(done); })]));

for (const mode of MODES) {
  test(`models are chosen from what the provider offers (${mode.name})`, () => withPage(browser, server, mode, { cookie }, async (page) => {
    const tag = mode.name.replace(/\W/g, "");
    names = [`alpha-${tag}`, `beta-${tag}`, `vendor/gamma-${tag}`, `long-${"x".repeat(70)}`];
    const key = await call("POST", "general-keys", { name: `KEY_${tag}`, value: GOOD_VALUE });
    const base = `http://127.0.0.1:${lists.address().port}/v1`;
    const provider = await call("POST", "providers", { name: `Lists ${tag}`, kind: "openai-compatible", base_url: base, general_key_id: key.id });
    await call("POST", "models", { name: `beta-${tag}`, provider_id: provider.id });
    await page.goto(`/catalog?provider_id=${provider.id}`);
    await link(page, `Import models of Lists ${tag}`).click();
    await page.getByText("4 offered, 1 of them imported already").waitFor();
    assert.ok(await page.getByLabel(`beta-${tag}`).isDisabled());
    assert.ok(await page.getByLabel("long-").isDisabled());
    await check(page);
    await button(page, "Import").click();
    await page.getByText("Choose at least one model.").waitFor();
    await check(page);
    if (page.mode.script) await page.getByLabel("All", { exact: true }).check();
    else for (const name of [`alpha-${tag}`, `vendor/gamma-${tag}`]) await page.getByLabel(name).check();
    await button(page, "Import").click();
    await said(page, "Models imported.");
    await page.getByText("3 models").waitFor();
    await link(page, `vendor/gamma-${tag}`).waitFor();
    await check(page);
  }));
}

test("what the provider says instead of a list is shown", () => withPage(browser, server, MODES[0], { cookie }, async (page) => {
  const key = await call("POST", "general-keys", { name: "KEY_BAD", value: "sk-test-not-the-right-one-00000" });
  const base = `http://127.0.0.1:${lists.address().port}/v1`;
  const provider = await call("POST", "providers", { name: "Refuses", kind: "openai-compatible", base_url: base, general_key_id: key.id });
  await page.goto(`/catalog/providers/${provider.id}/import`);
  await page.getByText("Refuses: Incorrect API key provided.").waitFor();
  await check(page);
}));
