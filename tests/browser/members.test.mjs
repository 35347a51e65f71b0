// Members, roles, management tokens and one's own password, by hands on the pages.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { TWO_MODES, button, check, claim, field, launch, link, popUp, said, send, startServer, withPage } from "./harness.mjs";

const PASSWORD = "a password of the invited";

let browser, server, cookie;
before(async () => {
  [browser, server] = await Promise.all([launch(), startServer()]);
  cookie = await claim(server);
});
after(() => Promise.all([browser.close(), server.stop()]));

/// Invites somebody through the form; the link that is shown once.
async function invite(page, email, role) {
  await page.goto("/members");
  await link(page, "Invite member").click();
  await field(page, "Email").fill(email);
  await page.getByLabel("Role").selectOption(role);
  await check(page);
  await button(page, "Invite").click();
  const shown = await page.locator("#secret").inputValue();
  await check(page);
  return shown;
}

/// Joins through the link: with the script it carries the token, without it is pasted.
async function join(page, invitation) {
  await page.goto(page.mode.script ? invitation : "/invitation");
  if (!page.mode.script) await field(page, "Invitation").fill(invitation);
  await check(page);
  await page.locator("#password").fill(PASSWORD);
  await button(page, "Set password and sign in").click();
  await said(page, "Your password is set.");
}

for (const mode of TWO_MODES) {
  const tag = `${mode.width}`;

  test(`invite, join, look without changing, and be removed (${mode.name})`, async () => {
    let invitation;
    await withPage(browser, server, mode, { cookie }, async (page) => {
      invitation = await invite(page, `auditor-${tag}@example.com`, "auditor");
    });
    await withPage(browser, server, mode, {}, async (page) => {
      await join(page, invitation);
      for (const path of ["/keys/general", "/keys/agent", "/catalog", "/members", "/settings/tokens"]) {
        await page.goto(path);
        await page.getByText("Your role is auditor.").waitFor();
        assert.equal(await page.locator(".page-head button").first().isDisabled(), true, path);
        await check(page);
      }
      await page.goto("/members/new");
      await page.getByRole("heading", { name: "Your role does not allow this" }).waitFor();
      await check(page);
    });
    await withPage(browser, server, mode, { cookie }, async (page) => {
      await page.goto("/members");
      const dialog = await popUp(page, `Delete auditor-${tag}`);
      await check(page);
      await button(dialog, "Remove").click();
      await said(page, "Member removed.");
      await check(page);
    });
  });

  test(`a member has keys of their own, and who removes them gives these away (${mode.name})`, async () => {
    let invitation;
    await withPage(browser, server, mode, { cookie }, async (page) => {
      invitation = await invite(page, `member-${tag}@example.com`, "member");
    });
    await withPage(browser, server, mode, {}, async (page) => {
      await join(page, invitation);
      assert.match(page.url(), /\/keys\/agent/);
      await page.goto("/keys/agent/new");
      await field(page, "API Key Name").fill(`theirs-${tag}`);
      await button(page, "Save").click();
      await page.locator("#secret").waitFor();
      await check(page);
    });
    await withPage(browser, server, mode, { cookie }, async (page) => {
      await page.goto("/members");
      const dialog = await popUp(page, `Delete member-${tag}`);
      await dialog.getByText(`theirs-${tag}`).waitFor();
      await page.getByLabel("What becomes of them").selectOption({ label: "Give them to Ada Lovelace (ada@example.com)" });
      await check(page);
      await button(dialog, "Remove").click();
      await said(page, "Member removed.");
      await page.goto("/keys/agent");
      await link(page, `theirs-${tag}`).waitFor();
    });
  });

  test(`create a management token, see it once, delete it (${mode.name})`, () => withPage(browser, server, mode, { cookie }, async (page) => {
    await page.goto("/settings/tokens/new");
    await page.locator("#name").fill(`ci-${tag}`);
    await button(page, "Create").click();
    await page.getByText("Choose at least one.").waitFor();
    await check(page);
    await page.getByLabel("agent-keys:read").check();
    await button(page, "Create").click();
    const secret = await page.locator("#secret").inputValue();
    await check(page);
    const call = (path) => send(server, "GET", `/api/v1/${path}`, { headers: { authorization: `Bearer ${secret}` } });
    assert.deepEqual([(await call("agent-keys")).status, (await call("usage")).status], [200, 403]);
    await link(page, "Close").click();
    const dialog = await popUp(page, `Delete ci-${tag}`);
    await check(page);
    await button(dialog, "Delete").click();
    await said(page, "Management token deleted.");
    assert.equal((await call("agent-keys")).status, 401);
  }));

  test(`change one's password (${mode.name})`, async () => {
    let invitation;
    await withPage(browser, server, mode, { cookie }, async (page) => {
      invitation = await invite(page, `changer-${tag}@example.com`, "operator");
    });
    await withPage(browser, server, mode, {}, async (page) => {
      await join(page, invitation);
      await page.goto("/settings/account");
      await field(page, "Current password").fill("not the one there is");
      await field(page, "New password").fill("another one of theirs");
      await button(page, "Change password").click();
      await page.getByText("This is not your password now.").waitFor();
      await check(page);
      await field(page, "Current password").fill(PASSWORD);
      await field(page, "New password").fill("another one of theirs");
      await button(page, "Change password").click();
      await said(page, "Password changed.");
      await check(page);
    });
  });
}
