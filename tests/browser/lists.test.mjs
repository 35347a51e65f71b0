// Long lists: their pages, their order, what they look like with nothing in them.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { TWO_MODES, api, check, claim, launch, link, startServer, withPage } from "./harness.mjs";

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

inEach("long lists are turned over and back", async (page, tag) => {
  for (let i = 0; i < 110; i += 1) await call("POST", "agent-keys", { name: `pages-${tag}-${String(i).padStart(3, "0")}` });
  const count = page.locator(".pager-count");
  const first = () => page.locator("tbody tr").first().innerText();
  await page.goto(`/keys/agent?search=pages-${tag}&sort=name`);
  assert.equal(await count.innerText(), "1–50 of 110 keys");
  assert.equal(await link(page, "Previous").count(), 0);
  for (const [press, says, starts] of [
    ["Next", "51–100 of 110 keys", "050"], ["Next", "101–110 of 110 keys", "100"], ["Previous", "51–100 of 110 keys", "050"],
    ["Previous", "1–50 of 110 keys", "000"], ["Next", "51–100 of 110 keys", "050"], ["First", "1–50 of 110 keys", "000"],
  ]) {
    await link(page, press).click();
    await count.filter({ hasText: says }).waitFor();
    assert.match(await first(), new RegExp(`pages-${tag}-${starts}`), press);
  }
  await link(page, "Next").click();
  await check(page);
  await page.goto("/audit");
  await link(page, "Next").click();
  await link(page, "Previous").click();
  await count.filter({ hasText: "1–50 of" }).waitFor();
});

inEach("agent keys: what ends soonest first, then what ended; filtered by what asks for attention", async (page, tag) => {
  for (const [name, days] of [["late", 80], ["soon", 3], ["middle", 40]]) await call("POST", "agent-keys", { name: `${name}-order-${tag}`, expires_in_days: days });
  const names = () => page.locator("tbody .row-link").allInnerTexts();
  await page.goto(`/keys/agent?search=order-${tag}`);
  assert.deepEqual(await names(), [`soon-order-${tag}`, `middle-order-${tag}`, `late-order-${tag}`]);
  await page.getByLabel("Status").selectOption({ label: "Expires soon" });
  await page.getByRole("button", { name: "Search", exact: true }).click();
  await page.waitForURL((url) => url.searchParams.get("status") === "soon");
  assert.deepEqual(await names(), [`soon-order-${tag}`]);
  assert.match(await page.locator("tbody").innerText(), /Expires in 3 days/);
  await page.goto(`/keys/agent?search=order-${tag}&status=unused`);
  assert.equal((await names()).length, 3);
  await page.goto("/keys/agent?cursor=&from=nonsense");
  await check(page);
});
