// Signing in and out, sessions that end, and a console on a plain http name.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { GOOD_VALUE, MODES, OWNER, TWO_MODES, WIDE, button, check, claim, cookieOf, field, launch, link, ours, said, send, signIn, startServer, withPage } from "./harness.mjs";

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

/// As in another tab.
async function signInBeside(page) {
  const [name, ...value] = cookieOf(await signIn(server)).split("=");
  await page.context().addCookies([{ name, value: value.join("="), url: server.base }]);
}

test("a session that ends in the middle of a form with a secret, without scripts", async () => {
  const cookie = cookieOf(await signIn(server));
  await withPage(browser, server, MODES[3], { cookie }, async (page) => {
    await page.goto("/keys/general/new");
    await field(page, "API Key Name").fill("Typed again");
    await field(page, "API Key Value").fill(GOOD_VALUE);
    await send(server, "POST", "/sign-out", { headers: { cookie, ...ours(server) } });
    await button(page, "Save").click();
    await page.getByRole("heading", { name: "Your session ended" }).waitFor();
    await check(page);
    assert.ok(!(await page.content()).includes(GOOD_VALUE), "the value came back");
    await signInBeside(page);
    await field(page, "API Key Value, once more").fill(GOOD_VALUE);
    await button(page, "Send again").click();
    await said(page, "API key saved.");
    await page.getByText("Typed again").waitFor();
  });
  // What came from elsewhere is not offered to be sent again by a page of ours.
  const form = { name: "Not mine" };
  const foreign = await send(server, "POST", "/keys/agent/new", { headers: { origin: "https://evil.example" }, form });
  assert.equal(foreign.status, 403);
  assert.ok(!foreign.text.includes("Send again"), foreign.text);
});

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
      if (mode.script) {
        await link(page, "Sign in").click();
        await fillIn(page);
        await page.waitForURL("**/keys/agent/new");
        assert.equal(await field(page, "API Key Name").inputValue(), "Never saved");
        await page.goto("/keys/agent/new");
        assert.equal(await field(page, "API Key Name").inputValue(), "", "it comes back once");
        await page.goto("/keys/agent");
        assert.equal(await page.getByText("Never saved").count(), 0);
        return;
      }
      // Without the script the page keeps what was typed, while one signs in beside it.
      await button(page, "Send again").click();
      await page.getByRole("heading", { name: "Your session ended" }).waitFor();
      await signInBeside(page);
      await button(page, "Send again").click();
      await page.locator("#secret").waitFor();
      await page.goto("/keys/agent?search=Never+saved");
      await link(page, "Never saved").waitFor();
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
