// Signing in and out, sessions that end, and a console on a plain http name.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { OWNER, TWO_MODES, WIDE, button, check, claim, cookieOf, field, launch, link, ours, send, signIn, startServer, withPage } from "./harness.mjs";

let browser, server;
before(async () => {
  [browser, server] = await Promise.all([launch(["--host-resolver-rules=MAP keys.test 127.0.0.1"]), startServer()]);
  await claim(server);
});
after(() => Promise.all([browser.close(), server.stop()]));

async function fillIn(page, password = OWNER.password) {
  await field(page, "Email").fill(OWNER.email);
  await field(page, "Password").fill(password);
  await button(page, "Sign in").click();
}

for (const mode of TWO_MODES) {
  test(`sign in, out, and back to where one was going (${mode.name})`, () => withPage(browser, server, mode, {}, async (page) => {
    await page.goto("/keys/agent?status=active");
    await button(page, "Sign in").waitFor();
    await check(page);
    await fillIn(page, "not the password");
    await page.getByText("Wrong email or password.").waitFor();
    await check(page);
    await fillIn(page);
    await page.waitForURL("**/keys/agent?status=active");
    await button(page, "Sign out").click();
    await page.getByText("You are signed out.").waitFor();
    await check(page);
    await page.goto("/keys/general");
    await button(page, "Sign in").waitFor();
  }));

  test(`a session that ends in the middle of a form (${mode.name})`, async () => {
    const cookie = cookieOf(await signIn(server));
    await withPage(browser, server, mode, { cookie }, async (page) => {
      await page.goto("/keys/agent/new");
      await field(page, "API Key Name").fill("Never saved");
      await send(server, "POST", "/sign-out", { headers: { cookie, ...ours(server) } });
      await button(page, "Save").click();
      await page.getByRole("heading", { name: "Your session ended" }).waitFor();
      await check(page);
      await link(page, "Sign in").click();
      await fillIn(page);
      await page.waitForURL("**/keys/agent/new");
      assert.equal(await field(page, "API Key Name").inputValue(), mode.script ? "Never saved" : "");
      await page.goto("/keys/agent/new");
      assert.equal(await field(page, "API Key Name").inputValue(), "", "it comes back once");
      await page.goto("/keys/agent");
      assert.equal(await page.getByText("Never saved").count(), 0);
    });
  });
}

test("plain http on a name that is not localhost: set up, sign in, Copy", async () => {
  const named = await startServer({ publicUrl: (port) => `http://keys.test:${port}` });
  try {
    await withPage(browser, named, WIDE, {}, async (page) => {
      await page.goto(named.setupLink);
      assert.equal(await page.evaluate(() => window.isSecureContext), false);
      await field(page, "Your name").fill(OWNER.name);
      await field(page, "Email").fill(OWNER.email);
      await field(page, "Password").fill(OWNER.password);
      await button(page, "Create account").click();
      await button(page, "Sign out").click();
      await fillIn(page);
      await page.waitForURL("**/keys/general");
      await page.goto("/keys/agent/new");
      await field(page, "API Key Name").fill("Copied");
      await button(page, "Save").click();
      const secret = await page.locator("#secret").inputValue();
      await button(page, "Copy").click();
      await page.getByRole("status").filter({ hasText: "Copied" }).waitFor();
      await check(page);
      await link(page, "Close").click();
      await page.getByRole("searchbox").focus();
      await page.keyboard.press("Control+V");
      assert.equal(await page.getByRole("searchbox").inputValue(), secret, "the clipboard holds the secret");
      assert.deepEqual(page.questions, []);
    });
  } finally {
    await named.stop();
  }
});
