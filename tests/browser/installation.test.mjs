// Settings → Installation: what it tells, before and after its keys are replaced beside the running server.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";

import { BINARY, TWO_MODES, check, claim, launch, link, startServer, withPage } from "./harness.mjs";

let browser, server, cookie;
before(async () => {
  [browser, server] = await Promise.all([launch(), startServer()]);
  cookie = await claim(server);
});
after(() => Promise.all([browser.close(), server.stop()]));

const rotate = () => promisify(execFile)(BINARY, ["master-key", "rotate-data"], {
  cwd: server.dir,
  env: { PATH: process.env.PATH, KEYWARD_DATA_DIR: join(server.dir, "data") },
});

for (const mode of TWO_MODES) {
  test(`the installation and its keys (${mode.name})`, () => withPage(browser, server, mode, { cookie }, async (page) => {
    await page.goto("/settings/account");
    await link(page, "Installation").click();
    await page.getByRole("heading", { name: "Keys inside" }).waitFor();
    const facts = await page.locator("main").innerText();
    for (const told of ["SQLite", `127.0.0.1:${server.port}`, "90 days", "Wrapped by the master key", "Rollback mark"]) {
      assert.ok(facts.includes(told), `${told}: ${facts}`);
    }
    await check(page);
    const newest = async () => {
      const texts = await page.getByRole("row").filter({ hasText: "Current" }).filter({ hasText: "Seals general keys" }).allInnerTexts();
      return Number(texts.join().match(/data-(\d+)/)[1]);
    };
    const earlier = await newest();
    await rotate();
    await page.reload();
    assert.equal(await newest(), earlier + 1);
    await page.getByRole("row").filter({ hasText: "Only reads" }).first().waitFor();
    await check(page);
  }));
}
