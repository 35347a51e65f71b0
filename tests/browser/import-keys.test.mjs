// Agent keys of another product.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";

import { MODES, button, check, claim, field, launch, link, said, startServer, withPage } from "./harness.mjs";

let browser, server, cookie;
before(async () => {
  [browser, server] = await Promise.all([launch(), startServer()]);
  cookie = await claim(server);
});
after(() => Promise.all([browser.close(), server.stop()]));

for (const mode of MODES) {
  test(`pasted, looked over, imported, and called with (${mode.name})`, () => withPage(browser, server, mode, { cookie }, async (page) => {
    const tag = mode.name.replace(/\W/g, "");
    const secret = `sk-test-of-litellm-${tag}`;
    const keys = [
      { token: createHash("sha256").update(secret).digest("hex"), key_alias: `Search ${tag}`, key_name: "sk-...abcd", rpm_limit: 60, models: ["gpt-5"], expires: null, team_id: "t" },
      { token: createHash("sha256").update(`old-${secret}`).digest("hex"), key_alias: `Old ${tag}`, expires: "2020-01-01T00:00:00Z" },
    ];
    await page.goto("/keys/agent");
    await page.locator("summary", { hasText: "Create API Key" }).click();
    await link(page, "Import from LiteLLM, Unkey …").click();
    await check(page);
    await field(page, "Keys as JSON").fill(JSON.stringify([keys[0], { token: "sk-the-secret-itself" }, "x"]));
    await button(page, "Look it over").click();
    await page.getByText("The key at 2, token: this must be a SHA-256").waitFor();
    await page.getByText("The key at 3: this must be an object.").waitFor();
    await check(page);
    await field(page, "Keys as JSON").fill("[{");
    await button(page, "Look it over").click();
    await page.getByText("This must be JSON as it is exported").waitFor();
    assert.equal(await field(page, "Keys as JSON").inputValue(), "[{", "what was typed stays");
    await field(page, "Keys as JSON").fill(JSON.stringify({ keys }));
    await button(page, "Look it over").click();
    const row = page.getByRole("row").filter({ hasText: `Search ${tag}` });
    assert.match(await row.innerText(), /60 requests a minute[\s\S]*the limits of its team are not taken over; there is no model gpt-5 here yet/);
    await page.getByText("The key at 2: it has expired").waitFor();
    await check(page);
    if (process.env.LOOK) await page.screenshot({ path: `${process.env.LOOK}/import-keys-${mode.name.replace(/\W+/g, "-")}.png`, fullPage: true });
    await button(page, "Import").click();
    await said(page, "Agent keys imported.");
    await page.getByRole("row").filter({ hasText: `Search ${tag}` }).waitFor();
    const answer = await fetch(`${server.base}/auth/verify`, { headers: { authorization: `Bearer ${secret}` } });
    assert.equal(answer.status, 200);
  }));
}
