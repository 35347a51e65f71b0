// General keys from a .env file.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { MODES, api, button, check, claim, field, launch, link, said, startServer, withPage } from "./harness.mjs";

let browser, server, cookie, call;
before(async () => {
  [browser, server] = await Promise.all([launch(), startServer()]);
  cookie = await claim(server);
  call = api(server, cookie);
});
after(() => Promise.all([browser.close(), server.stop()]));

for (const mode of MODES) {
  test(`pasted, looked over, imported (${mode.name})`, () => withPage(browser, server, mode, { cookie }, async (page) => {
    const tag = mode.name.replace(/\W/g, "").toUpperCase();
    await call("POST", "general-keys", { name: `OLD_${tag}_KEY`, value: "sk-test-the-old-value-OLD" });
    await page.goto("/keys/general");
    await link(page, "Import from .env").click();
    await check(page);
    await field(page, "Lines of a .env file").fill("nothing to read");
    await button(page, "Look it over").click();
    await page.getByText("holds no line like NAME=value").waitFor();
    await check(page);
    await field(page, "Lines of a .env file").fill(`NEW_${tag}_KEY=sk-ant-test-value-of-it-NEW\nOLD_${tag}_KEY=sk-test-the-next-value-NXT\nPORT=8080\nBAD_KEY=a b\n`);
    await button(page, "Look it over").click();
    const row = (name) => page.getByRole("row").filter({ hasText: name });
    await row(`NEW_${tag}_KEY`).getByText("Anthropic").waitFor();
    assert.match(await row("BAD_KEY").innerText(), /Cannot be a key/);
    assert.equal(await page.getByLabel("What to do with PORT").inputValue(), "");
    assert.equal(await page.getByLabel(`What to do with OLD_${tag}_KEY`).inputValue(), "");
    await page.getByLabel(`What to do with OLD_${tag}_KEY`).selectOption({ label: "Replace its value" });
    assert.ok(!(await page.content()).includes("value-of-it"), "a value came back");
    await check(page);
    await button(page, "Import").click();
    await said(page, "API keys imported.");
    assert.match(await row(`NEW_${tag}_KEY`).innerText(), /sk-\*{6}NEW/);
    assert.match(await row(`OLD_${tag}_KEY`).innerText(), /sk-\*{6}NXT/);
    await check(page);
  }));
}
