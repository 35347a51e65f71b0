// From the printed setup link to an answered call, as a newcomer goes.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { promisify } from "node:util";

import { GOOD_VALUE, MODES, OWNER, button, check, field, launch, link, said, send, startProvider, startServer, testKey, until, withPage } from "./harness.mjs";

let browser;
before(async () => { browser = await launch(); });
after(() => browser.close());

for (const mode of MODES) {
  test(`setup link to answered call (${mode.name})`, async () => {
    const [server, provider] = await Promise.all([startServer(), startProvider()]);
    try {
      await withPage(browser, server, mode, {}, (page) => newcomer(page, server, provider));
    } finally {
      await Promise.all([server.stop(), provider.stop()]);
    }
  });
}

async function newcomer(page, server, provider) {
  const { script } = page.mode;

  await page.goto(server.setupLink);
  await check(page);
  if (script) assert.equal(page.url(), `${server.base}/setup`, "the token leaves the address");
  else await field(page, "Setup token").fill(page.mode.width < 500 ? server.setupLink : `#token=${server.setupToken}`);
  await field(page, "Your name").fill(OWNER.name);
  await field(page, "Email").fill(OWNER.email);
  await field(page, "Password").fill("short");
  await button(page, "Create account").click();
  await page.locator("#password-error").waitFor();
  await check(page);
  await field(page, "Password").fill(OWNER.password);
  await button(page, "Create account").click();
  await said(page, "Welcome to Keyward.");
  await page.getByText("No API keys yet").waitFor();
  await check(page);
  const steps = () => page.locator(".steps li").allInnerTexts();
  const done = () => page.locator(".step-done").count();
  assert.deepEqual([(await steps()).length, await done()], [3, 0]);
  await page.goto("/catalog/models/new");
  await link(page, "New provider").waitFor();
  await check(page);
  for (const path of ["/keys/agent", "/catalog", "/audit"]) {
    await page.goto(path);
    await check(page);
  }

  await page.goto("/keys/general");
  await link(page, "New API Key").first().click();
  await field(page, "API Key Name").waitFor();
  await check(page);
  await page.getByText("This key does not have an expiration date.").waitFor();
  await field(page, "API Key Name").fill("MY_API");
  await page.locator("#value").fill(GOOD_VALUE);
  await button(page, "Save").click();
  await said(page, "API key saved.");
  const row = page.getByRole("row").filter({ hasText: "MY_API" });
  assert.match(await row.innerText(), /sk-\S+XYZ/);
  await page.locator("[data-flash]").getByText("Next: Add a provider and link the key").waitFor();
  assert.doesNotMatch(await page.content(), new RegExp(GOOD_VALUE), "the value is never shown");
  await check(page);

  await link(page, "Providers & models").click();
  await link(page, "New provider").first().click();
  await field(page, "Kind").waitFor();
  await check(page);
  await page.locator("#name").fill("Local");
  await field(page, "Kind").selectOption({ label: "OpenAI" });
  await page.locator("#base_url").fill(provider.base);
  await page.locator("#general_key_id").selectOption({ index: 1 });
  await button(page, "Save").click();
  await said(page, "Provider saved.");
  await check(page);

  const verdict = await testKey(page, button(page, "Test key of Local"));
  assert.match(verdict, /Local accepted the key\./);
  await check(page);

  await page.getByRole("link", { name: "New model" }).click();
  await page.locator("#upstream_model").waitFor();
  await check(page);
  await page.locator("#name").fill("chat-model");
  await button(page, "Save").click();
  await said(page, "Model saved.");
  await check(page);

  await link(page, "API keys").click();
  await page.locator(".steps").waitFor();
  assert.equal(await done(), 2);
  await link(page, "Agent API Key").click();
  await page.locator("summary", { hasText: "Create API Key" }).click();
  await check(page);
  await link(page.locator(".menu-items"), "Agent API Key").click();
  await field(page, "API Key Name").waitFor();
  await check(page);
  await field(page, "API Key Name").fill("ABC-Key");
  await button(page, "Save").click();
  await page.getByText("The Secret Key is displayed only once and cannot be retrieved again after closing").waitFor();
  await check(page);
  const secret = await page.locator("#secret").inputValue();
  assert.match(secret, /^kw_/);

  const whole = await page.locator("#secret").evaluate((box) => box.scrollHeight <= box.clientHeight && box.scrollWidth <= box.clientWidth);
  assert.ok(whole, "all of the secret is seen");
  if (script) assert.equal(await page.getByRole("tab").first().innerText(), ".env");
  for (const id of ["paste-env", "paste-python", "paste-typescript"]) assert.ok((await page.locator(`#${id}`).textContent()).includes(secret), id);

  const pasted = await page.locator("#paste-curl").textContent();
  const { stdout } = await promisify(execFile)("bash", ["-c", pasted], { env: { PATH: process.env.PATH }, timeout: 20_000 });
  assert.match(stdout, /Hello from the provider/);
  const call = provider.calls.at(-1);
  assert.equal(call.key, `Bearer ${GOOD_VALUE}`, "the provider's key was put in");
  assert.equal(JSON.parse(call.body).model, "chat-model");

  if (script) {
    await page.getByText("First call received").waitFor();
  } else {
    const [tab] = await Promise.all([page.context().waitForEvent("page"), link(page, "Check whether it was used").click()]);
    await until("the first call to be told", async () => await tab.getByText("First call received").count() || (await tab.reload(), false));
    await tab.close();
  }
  await check(page);

  if (script) await button(page, "Copy").click();
  await link(page, "Close").click();
  const made = page.getByRole("row").filter({ hasText: "ABC-Key" });
  await made.waitFor();
  assert.match(await made.innerText(), /Active/);
  assert.match(await made.innerText(), new RegExp(secret.slice(-4)));
  assert.doesNotMatch(await page.content(), new RegExp(secret));
  assert.deepEqual(page.questions, []);
  assert.equal(await page.locator(".steps").count(), 0, "the first steps are done");
  await check(page);

  // The setup is over, and its link leads to signing in, or for someone signed in on to the keys.
  await page.goto("/setup");
  assert.equal(new URL(page.url()).pathname, "/keys/general");
  const again = await send(server, "GET", "/setup");
  assert.equal(again.headers.location, "/sign-in");
}
