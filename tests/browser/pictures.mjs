// Takes pictures of the console as it is: those of the README, or with a folder named every page, in every width and
// scheme, with no key, with three and with five hundred, for somebody to look at.
//
//   cargo xtask pictures            writes docs/pictures
//   cargo xtask pictures FOLDER     writes every page's into FOLDER

import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { GOOD_VALUE, api, button, claim, field, launch, open, send, startProvider, startServer } from "./harness.mjs";

const OF_README = fileURLToPath(new URL("../../docs/pictures", import.meta.url));
const LOOKS = [1280, 320].flatMap((width) => ["light", "dark"].map((scheme) => ({ width, scheme, script: true })));

/// Usage of the last week, as if the calls had been made: written into the database, beside the one call that was.
const WEEK = `
import random, sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=20)
random.seed(7)
row = db.execute("SELECT agent_key_id, member_id, provider_id, general_key_id FROM usage_hours LIMIT 1").fetchone()
for hours in range(1, 24 * 7):
    hour = (int(time.time()) // 3600 - hours) * 3600000
    calls = int(random.random() * 60 * (1.5 if 7 <= 23 - hours % 24 <= 18 else 0.3))
    for model, share, price in [("gpt-5", 1, 6200000), ("gpt-5-mini", 3, 900000)]:
        calls, failed = calls * share, calls * share // 40
        if calls:
            db.execute("INSERT OR IGNORE INTO usage_hours (hour, agent_key_id, member_id, provider_id, model_name, general_key_id, "
                "requests, errors, input_tokens, output_tokens, estimated, client_errors, server_errors, wait_ms, cost_nanos, unpriced) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, 0, ?, ?, 0)",
                (hour, row[0], row[1], row[2], model, row[3], calls, failed, calls * 1310, calls * 240, failed, calls * 410, calls * price))
db.commit()
`;

const folder = process.argv[2] ?? OF_README;
mkdirSync(folder, { recursive: true });
const browser = await launch();
try {
  if (folder === OF_README) await ofReadme();
  else for (const count of [0, 3, 500]) await ofEveryPage(count);
} finally {
  await browser.close();
}

async function ofReadme() {
  await withConsole(3, async ({ server, cookie, catalog }) => {
    for (const scheme of ["light", "dark"]) {
      const page = await open(browser, server, { width: 1280, scheme, script: true }, { cookie });
      await page.setViewportSize({ width: 1280, height: 620 });
      const take = (name) => page.screenshot({ path: join(folder, `${name}-${scheme}.png`) });
      await page.goto("/keys/agent");
      await take("agent-keys");
      await page.goto("/overview");
      await take("overview");
      await page.goto("/keys/general");
      await page.locator(`a[href="/keys/general/${catalog.key}/delete"]`).click();
      await page.getByRole("dialog").waitFor();
      await take("delete");
      await page.context().close();
    }
  });
}

async function ofEveryPage(count) {
  await withConsole(count, async ({ server, cookie, catalog, agent }) => {
    for (const look of LOOKS) {
      const page = await open(browser, server, look, { cookie });
      const take = (name) => page.screenshot({ path: join(folder, `${count}-${name}-${look.width}-${look.scheme}.png`), fullPage: count < 500 });
      const paths = {
        general: "/keys/general", "general-new": "/keys/general/new", "no-match": "/keys/general?search=nothing-like-it",
        overview: "/overview", usage: "/usage", "import-env": "/keys/general/import", agent: "/keys/agent", "agent-new": "/keys/agent/new", catalog: "/catalog", "provider-new": "/catalog/providers/new",
        "model-new": "/catalog/models/new", audit: "/audit", docs: "/docs", nothing: "/no-such-page",
      };
      if (catalog) {
        Object.assign(paths, {
          "general-edit": `/keys/general/${catalog.key}/edit`, "general-delete": `/keys/general/${catalog.key}/delete`,
          "agent-edit": `/keys/agent/${agent}/edit`, "agent-delete": `/keys/agent/${agent}/delete`,
          "provider-edit": `/catalog/providers/${catalog.provider}/edit`, "provider-delete": `/catalog/providers/${catalog.provider}/delete`,
        });
      }
      for (const [name, path] of Object.entries(paths)) {
        await page.goto(path);
        await take(name);
      }
      await page.goto("/keys/agent/new");
      await field(page, "API Key Name").fill(`Shown ${look.width} ${look.scheme}`);
      await button(page, "Save").click();
      await page.locator("#secret").waitFor();
      await take("show-once");
      await page.context().close();
      const stranger = await open(browser, server, look);
      await stranger.goto("/sign-in");
      await stranger.screenshot({ path: join(folder, `${count}-sign-in-${look.width}-${look.scheme}.png`) });
      await stranger.context().close();
    }
  });
}

/// A server with so many keys of each kind, some of them used, and where there are any, providers and models.
async function withConsole(count, look) {
  const [server, provider] = await Promise.all([startServer(), startProvider()]);
  try {
    const cookie = await claim(server);
    const call = api(server, cookie);
    const value = (tail) => `${GOOD_VALUE.slice(0, -3)}${tail}`;
    let catalog, agent;
    if (count) {
      const [key, claude, gemini] = [
        await call("POST", "general-keys", { name: "MY_API", value: GOOD_VALUE }),
        await call("POST", "general-keys", { name: "ANTHROPIC_PROD", value: value("k4A") }),
        await call("POST", "general-keys", { name: "GEMINI_TEAM", value: value("Qz9") }),
      ];
      const local = await call("POST", "providers", { name: "OpenAI", kind: "openai", base_url: provider.base, general_key_id: key.id });
      await call("POST", "providers", { name: "Anthropic", kind: "anthropic", general_key_id: claude.id });
      await call("POST", "providers", { name: "Gemini", kind: "gemini", general_key_id: gemini.id });
      await call("POST", "models", { name: "gpt-5", provider_id: local.id, input_price_micros: 1250000, output_price_micros: 10000000 });
      await call("POST", "models", { name: "gpt-5-mini", provider_id: local.id });
      catalog = { key: key.id, provider: local.id };
      for (const [name, days] of [["support-agent", 90], ["nightly-evaluation", 9], ["research-crawler", 60]]) {
        const made = await call("POST", "agent-keys", { name, expires_in_days: days });
        if (name === "research-crawler") await call("POST", `agent-keys/${made.id}/disable`);
        if (name === "research-crawler") continue;
        if (name === "support-agent") agent = made.id;
        await send(server, "POST", "/v1/chat/completions", {
          headers: { authorization: `Bearer ${made.secret}` },
          json: { model: "gpt-5", messages: [{ role: "user", content: "Hello" }] },
        });
      }
    }
    if (count) {
      // Asking for it writes down what was counted.
      await call("GET", "usage");
      execFileSync("python3", ["-c", WEEK, join(server.dir, "data", "keyward.db")]);
    }
    for (let made = 3; made < count; made += 1) {
      const name = [`team-${made}`, `🔑 emoji ${made}`, `مفتاح ${made}`, `${"Wide".repeat(14)}-${made}`][made % 4];
      await call("POST", "general-keys", { name, value: value(String(made).padStart(3, "0")) });
      await call("POST", "agent-keys", { name, expires_in_days: 1 + (made % 90) });
    }
    await look({ server, cookie, catalog, agent });
  } finally {
    await Promise.all([server.stop(), provider.stop()]);
  }
}
