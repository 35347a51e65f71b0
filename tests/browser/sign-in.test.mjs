// A second factor, and signing in at an issuer of OpenID Connect, by hands on the pages.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, test } from "node:test";

import { TWO_MODES, button, check, claim, field, launch, link, said, startIssuer, startServer, withPage } from "./harness.mjs";

const PASSWORD = "a password of the invited";

let browser, issuer, server, cookie;
before(async () => {
  [browser, issuer] = await Promise.all([launch(), startIssuer()]);
  server = await startServer({ settings: issuer.settings });
  cookie = await claim(server);
});
after(() => Promise.all([browser.close(), server.stop(), issuer.stop()]));

/// The field, and not the picture of the secret.
const code = (page) => page.getByLabel("Code", { exact: true });

/// What an app shows: RFC 6238. `ahead` steps from now.
function codeOf(secret, ahead = 0) {
  const bits = [...secret].map((letter) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(letter).toString(2).padStart(5, "0")).join("");
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + ahead));
  const tag = createHmac("sha1", key).update(counter).digest();
  const number = tag.readUInt32BE(tag[19] & 15) & 0x7fffffff;
  return String(number % 1_000_000).padStart(6, "0");
}

/// Invites somebody through the form; the link that is shown once.
async function invite(email) {
  let shown;
  await withPage(browser, server, TWO_MODES[0], { cookie }, async (page) => {
    await page.goto("/members/new");
    await field(page, "Email").fill(email);
    await page.getByLabel("Role").selectOption("operator");
    await button(page, "Invite").click();
    shown = await page.locator("#secret").inputValue();
    await link(page, "Close").click();
  });
  return shown;
}

/// Opens an invitation: with the script it carries its token, without it is pasted.
async function openInvitation(page, invitation) {
  await page.goto(page.mode.script ? invitation : "/invitation");
  if (!page.mode.script) await field(page, "Invitation").fill(invitation);
}

for (const mode of TWO_MODES) {
  const tag = `${mode.width}`;

  test(`set a second factor up, sign in with it, and turn it off (${mode.name})`, async () => {
    const email = `factor-${tag}@example.com`;
    const invitation = await invite(email);
    await withPage(browser, server, mode, {}, async (page) => {
      await openInvitation(page, invitation);
      await page.locator("#password").fill(PASSWORD);
      await button(page, "Set password and sign in").click();
      await page.goto("/settings/account");
      await check(page);
      await link(page, "Set up").click();
      const secret = (await page.locator("#enrol-secret").innerText()).replaceAll(" ", "");
      await check(page);
      const drawn = await page.locator(".qr").boundingBox();
      assert.ok(drawn.width >= 180 && Math.abs(drawn.width - drawn.height) < 1, JSON.stringify(drawn));
      await code(page).fill("000000");
      await field(page, "Password").fill("not the password");
      await button(page, "Turn on").click();
      await page.getByText("This is not your password now.").waitFor();
      assert.equal((await page.locator("#enrol-secret").innerText()).replaceAll(" ", ""), secret, "the same secret is still there");
      await check(page);
      await code(page).fill(codeOf(secret));
      await field(page, "Password").fill(PASSWORD);
      await button(page, "Turn on").click();
      await page.getByRole("heading", { name: "Your second factor is on" }).waitFor();
      const codes = (await page.locator("#secret").inputValue()).split("\n");
      assert.equal(codes.length, 10);
      await check(page);
      await link(page, "Close").click();
      await page.getByText("10 recovery codes left").waitFor();
      await check(page);

      await button(page, "Sign out").click();
      await page.goto("/keys/agent?status=active");
      const password = async () => {
        await field(page, "Email").fill(email);
        await field(page, "Password").fill(PASSWORD);
        await button(page, "Sign in").click();
        await page.getByRole("heading", { name: "Enter your code" }).waitFor();
      };
      await password();
      await check(page);
      await code(page).fill("000000");
      await button(page, "Sign in").click();
      await page.getByText("That code is not good now.").waitFor();
      await check(page);
      await code(page).fill(codeOf(secret, 1));
      await button(page, "Sign in").click();
      await page.waitForURL("**/keys/agent?status=active");

      await button(page, "Sign out").click();
      await page.goto("/sign-in");
      await password();
      await code(page).fill(codes[0].toUpperCase());
      await button(page, "Sign in").click();
      await page.waitForURL("**/keys/general");

      await page.goto("/settings/account/second-factor");
      await page.getByText("9 of 10 left").waitFor();
      await check(page);
      await field(page, "Password").fill(PASSWORD);
      await code(page).fill(codes[1]);
      await button(page, "Make new recovery codes").click();
      const fresh = (await page.locator("#secret").inputValue()).split("\n");
      assert.ok(fresh.length === 10 && !fresh.includes(codes[2]));
      await link(page, "Close").click();
      await link(page, "Change").click();
      await field(page, "Password").fill(PASSWORD);
      await code(page).fill(fresh[0]);
      await button(page, "Turn off").click();
      await said(page, "Second factor turned off.");
      await check(page);
      page.questions.length = 0; // whether to leave the codes uncopied
    });
  });

  test(`sign in at an issuer, whose group gives the role (${mode.name})`, () => withPage(browser, server, mode, {}, async (page) => {
    issuer.says = { sub: `by-group-${tag}`, email: `by-group-${tag}@example.com`, name: "Grace Hopper", groups: ["llm-ops"] };
    await page.goto("/keys/agent?status=active");
    await check(page);
    await link(page, "Sign in with Example ID").click();
    await page.waitForURL("**/keys/agent?status=active");
    await page.getByText("Your role is operator.").waitFor();
    await page.goto("/settings/account");
    await page.getByText("You have none: you sign in with Example ID").waitFor();
    await check(page);
    await button(page, "Sign out").click();
    issuer.says.groups = [];
    await link(page, "Sign in with Example ID").click();
    await page.getByRole("heading", { name: "You were not signed in" }).waitFor();
    await check(page);
    await link(page, "Back to signing in").click();
    await button(page, "Sign in").waitFor();
  }));

  test(`join with an invitation and an identity, and link one to a password (${mode.name})`, async () => {
    const joining = await invite(`joining-${tag}@example.com`);
    const linking = await invite(`linking-${tag}@example.com`);
    await withPage(browser, server, mode, {}, async (page) => {
      issuer.says = { sub: `joining-${tag}` };
      await openInvitation(page, joining);
      await check(page);
      await button(page, "Join with Example ID, without a password").click();
      await page.waitForURL("**/keys/general");
      await button(page, "Sign out").click();

      issuer.says = { sub: `linking-${tag}` };
      await openInvitation(page, linking);
      await page.locator("#password").fill(PASSWORD);
      await button(page, "Set password and sign in").click();
      await page.goto("/settings/account");
      await page.getByText("Not linked").click();
      await check(page);
      await page.locator("#identity_password").fill(PASSWORD);
      await button(page, "Link Example ID").click();
      await said(page, "Linked.");
      await check(page);
      await button(page, "Sign out").click();
      await link(page, "Sign in with Example ID").click();
      await page.waitForURL("**/keys/general");
      await page.goto("/settings/account");
      await page.getByText("Linked since").click();
      await page.locator("#identity_password").fill(PASSWORD);
      await button(page, "Unlink Example ID").click();
      await said(page, "Unlinked.");
    });
  });
}
