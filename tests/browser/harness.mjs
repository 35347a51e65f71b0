// What the browser tests stand on: the real binary, a provider that writes down what it was sent, Chromium.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { generateKeyPairSync, randomUUID, sign } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
export const BINARY = join(process.env.CARGO_TARGET_DIR ?? join(ROOT, "target"), "debug/keyward");
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const OWNER = { name: "Ada Lovelace", email: "ada@example.com", password: "correct horse battery" };
export const GOOD_VALUE = "sk-test-0123456789abcdefXYZ";

/// The modes every flow is done in. `check` looks at each page in light and in dark.
export const MODES = [
  { name: "script, 1280 px", script: true, width: 1280, scheme: "light" },
  { name: "script, 320 px", script: true, width: 320, scheme: "dark" },
  { name: "no script, 1280 px", script: false, width: 1280, scheme: "dark" },
  { name: "no script, 320 px", script: false, width: 320, scheme: "light" },
];
export const WIDE = MODES[0];
/// The two that differ in everything, for flows after the first.
export const TWO_MODES = [MODES[0], MODES[3]];

// --- the server

export async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await new Promise((done) => server.once("listening", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

export async function until(what, probe, seconds = 20) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const found = await probe();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited ${seconds} s for ${what}`);
    await new Promise((done) => setTimeout(done, 25));
  }
}

const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

/// `keyward serve` on throw-away data. `publicUrl` is made from the port; `settings` are further variables.
export async function startServer({ publicUrl, settings = {} } = {}) {
  assert.ok(existsSync(BINARY), `${BINARY} is missing: cargo build`);
  const dir = mkdtempSync(join(tmpdir(), "keyward-browser-"));
  const port = await freePort();
  const env = { PATH: process.env.PATH, HOME: dir, KEYWARD_LISTEN: `127.0.0.1:${port}`, KEYWARD_DATA_DIR: join(dir, "data"), ...settings };
  if (publicUrl) env.KEYWARD_PUBLIC_URL = publicUrl(port);
  const child = spawn(BINARY, ["serve"], { cwd: dir, env, stdio: ["ignore", "pipe", "pipe"] });
  running.add(child);
  const server = { port, dir, base: env.KEYWARD_PUBLIC_URL ?? `http://127.0.0.1:${port}`, stdout: "", log: "" };
  child.stdout.on("data", (part) => { server.stdout += part; });
  child.stderr.on("data", (part) => { server.log += part; });
  const ended = new Promise((done) => child.once("exit", done));
  await until("the server", async () => {
    assert.equal(child.exitCode, null, `keyward ended:\n${server.stdout}${server.log}`);
    const answer = await send(server, "GET", "/readyz").catch(() => null);
    return answer?.status === 200;
  });
  server.setupLink = await until("the setup link", () => server.stdout.match(/http\S+\/setup#\S+/)?.[0]);
  server.setupToken = server.setupLink.replace(/.*#(token=)?/, "");
  server.stop = async () => {
    child.kill("SIGTERM");
    await ended;
    running.delete(child);
    rmSync(dir, { recursive: true, force: true });
    assert.doesNotMatch(server.log, /panicked/, server.log);
  };
  return server;
}

/// A request as plain as can be: no browser's headers unless given. `form` is sent as one, `json` as that.
export function send(server, method, path, { headers = {}, form, json, localAddress } = {}) {
  let body;
  if (form) [body, headers] = [new URLSearchParams(form).toString(), { "content-type": "application/x-www-form-urlencoded", ...headers }];
  if (json) [body, headers] = [JSON.stringify(json), { "content-type": "application/json", ...headers }];
  if (body) headers = { ...headers, "content-length": Buffer.byteLength(body) };
  return new Promise((done, failed) => {
    const request = http.request({ host: "127.0.0.1", port: server.port, method, path, headers, localAddress, agent: false }, (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (part) => { text += part; });
      answer.on("error", failed);
      answer.on("end", () => done({ status: answer.statusCode, headers: answer.headers, text }));
    });
    // A server may answer and close before it read everything.
    request.on("error", (error) => failed(error));
    request.end(body);
  });
}

export const ours = (server) => ({ origin: server.base });

/// Makes the owner without a browser; the answer's `Cookie` header.
export async function claim(server) {
  const form = { token: server.setupToken, ...OWNER };
  const answer = await send(server, "POST", "/setup", { headers: ours(server), form });
  assert.equal(answer.status, 303, answer.text);
  return cookieOf(answer);
}

export async function signIn(server, { email = OWNER.email, password = OWNER.password, localAddress } = {}) {
  return send(server, "POST", "/sign-in", { headers: ours(server), form: { email, password, next: "" }, localAddress });
}

export const cookieOf = (answer) => answer.headers["set-cookie"][0].split(";")[0];

/// The management API with the owner's session, to make what a test is not about.
export function api(server, cookie) {
  return async (method, path, json) => {
    const answer = await send(server, method, `/api/v1/${path}`, { headers: { cookie, ...ours(server) }, json });
    assert.ok(answer.status < 300, `${method} ${path}: ${answer.status} ${answer.text}`);
    return answer.text ? JSON.parse(answer.text) : null;
  };
}

// --- the provider

/// Speaks as much OpenAI as is needed, to `GOOD_VALUE` (or `values`) only.
export async function startProvider(values = [GOOD_VALUE]) {
  const calls = [];
  const server = http.createServer((request, answer) => {
    let body = "";
    request.on("data", (part) => { body += part; });
    request.on("end", () => {
      calls.push({ method: request.method, path: request.url, key: request.headers.authorization, body });
      const known = values.some((value) => request.headers.authorization === `Bearer ${value}`);
      const say = (status, json) => answer.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(json));
      if (!known) return say(401, { error: { message: "Incorrect API key provided.", type: "invalid_request_error", code: "invalid_api_key" } });
      if (request.url.endsWith("/models")) return say(200, { object: "list", data: [] });
      const { model } = JSON.parse(body);
      say(200, {
        id: "chatcmpl-1", object: "chat.completion", created: 1, model,
        choices: [{ index: 0, message: { role: "assistant", content: "Hello from the provider" }, finish_reason: "stop" }],
        usage: { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 },
      });
    });
  }).listen(0, "127.0.0.1");
  await new Promise((done) => server.once("listening", done));
  const base = `http://127.0.0.1:${server.address().port}/v1`;
  return { base, calls, stop: () => new Promise((done) => { server.closeAllConnections(); server.close(done); }) };
}

// --- the issuer

/// An issuer of OpenID Connect that asks nobody anything: whoever is sent to it comes straight back as `says`.
export async function startIssuer() {
  const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const issuer = { says: {}, asked: new Map() };
  const encoded = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const server = http.createServer((request, answer) => {
    const url = new URL(request.url, issuer.base);
    const say = (json) => answer.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(json));
    if (url.pathname === "/authorize") {
      const code = randomUUID();
      issuer.asked.set(code, url.searchParams.get("nonce"));
      const back = `${url.searchParams.get("redirect_uri")}?${new URLSearchParams({ code, state: url.searchParams.get("state") })}`;
      return answer.writeHead(302, { location: back }).end();
    }
    if (url.pathname === "/jwks") return say({ keys: [{ ...publicKey.export({ format: "jwk" }), kid: "1", alg: "RS256", use: "sig" }] });
    if (url.pathname !== "/token") {
      return say({
        issuer: issuer.base, authorization_endpoint: `${issuer.base}/authorize`, token_endpoint: `${issuer.base}/token`,
        jwks_uri: `${issuer.base}/jwks`, response_types_supported: ["code"], subject_types_supported: ["public"],
        id_token_signing_alg_values_supported: ["RS256"],
      });
    }
    let body = "";
    request.on("data", (part) => { body += part; });
    request.on("end", () => {
      const now = Math.floor(Date.now() / 1000);
      const nonce = issuer.asked.get(new URLSearchParams(body).get("code"));
      const claims = { iss: issuer.base, aud: "keyward", iat: now, exp: now + 300, nonce, ...issuer.says };
      const text = `${encoded({ alg: "RS256", kid: "1" })}.${encoded(claims)}`;
      const signature = sign("RSA-SHA256", Buffer.from(text), privateKey).toString("base64url");
      say({ access_token: "unused", token_type: "Bearer", id_token: `${text}.${signature}` });
    });
  }).listen(0, "127.0.0.1");
  await new Promise((done) => server.once("listening", done));
  issuer.base = `http://127.0.0.1:${server.address().port}`;
  issuer.settings = {
    KEYWARD_OIDC_ISSUER: issuer.base, KEYWARD_OIDC_CLIENT_ID: "keyward", KEYWARD_OIDC_NAME: "Example ID",
    KEYWARD_OIDC_ROLE_MAP: "llm-ops=operator",
  };
  issuer.stop = () => new Promise((done) => { server.closeAllConnections(); server.close(done); });
  return issuer;
}

// --- the browser

export function launch(extra = []) {
  return chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--no-proxy-server", ...extra,
    ],
  });
}

/// A page in one of the modes, of someone with `cookie` where given. Whatever goes wrong in it is kept for `check`.
export async function open(browser, server, mode, { cookie } = {}) {
  const context = await browser.newContext({
    baseURL: server.base,
    viewport: { width: mode.width, height: 800 },
    colorScheme: mode.scheme,
    reducedMotion: "reduce",
    deviceScaleFactor: 1,
  });
  context.setDefaultTimeout(10_000);
  if (cookie) {
    const [name, ...value] = cookie.split("=");
    await context.addCookies([{ name, value: value.join("="), url: server.base }]);
  }
  const problems = [];
  const refusals = new Set(); // documents answered with 4xx, which a test expects and Chromium writes to the console
  context.on("response", (answer) => {
    if (answer.status() >= 500) problems.push(`${answer.status()} of ${answer.url()}`);
    else if (answer.status() >= 400 && answer.request().resourceType() === "document") refusals.add(answer.url().split("#")[0]);
    else if (answer.status() >= 400) problems.push(`${answer.status()} of ${answer.url()}`);
  });
  context.on("requestfailed", (request) => {
    if (request.url().endsWith("/used")) return; // asked for again and again, also while the page is left
    problems.push(`${request.failure()?.errorText}: ${request.method()} ${request.url()}`);
  });
  context.on("weberror", (error) => problems.push(`uncaught: ${error.error()}`));
  context.on("console", (message) => {
    if (!["error", "warning"].includes(message.type())) return;
    const at = message.location().url.split("#")[0];
    if (message.text().startsWith("Failed to load resource: the server responded") && refusals.has(at)) return;
    problems.push(`console: ${message.text()} (${at})`);
  });
  if (mode.script) {
    await context.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) => {
        console.error(`CSP: ${event.violatedDirective} forbids ${event.blockedURI} ${event.sample}`);
      });
    });
  }
  const page = await context.newPage();
  if (!mode.script) await withoutScripts(page);
  page.mode = mode;
  page.problems = problems;
  page.questions = []; // what the browser asked, such as whether to leave
  page.on("dialog", async (dialog) => {
    page.questions.push(dialog.type());
    await dialog.accept();
  });
  return page;
}

/// As a reader sees the page who has scripts off. Playwright's own switch is not used: `check` must be able to lift it.
async function withoutScripts(page) {
  page.devtools = await page.context().newCDPSession(page);
  await page.devtools.send("Emulation.setScriptExecutionDisabled", { value: true });
}

/// Ends a test's page: nothing may have gone wrong in it.
export async function close(page) {
  const { problems } = page;
  await page.context().close();
  assert.deepEqual(problems, []);
}

/// Runs `body` with a page, and looks at what it left.
export async function withPage(browser, server, mode, options, body) {
  const page = await open(browser, server, mode, options);
  try {
    await body(page);
  } catch (error) {
    if (page.problems.length) error.message += `\nand in the page: ${page.problems.join("\n")}`;
    error.message += `\nat ${page.url()}`;
    await page.context().close().catch(() => {});
    throw error;
  }
  await close(page);
}

/// The page as it stands: nothing went wrong, it fits its width, axe finds nothing, in light and in dark.
export async function check(page, { hover = false } = {}) {
  if (!hover) await page.mouse.move(0, 0);
  assert.deepEqual(page.problems, [], page.url());
  const beyond = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(beyond <= 0, `${page.url()} scrolls sideways by ${beyond} px`);
  const mode = page.mode ?? WIDE;
  const devtools = page.devtools ??= await page.context().newCDPSession(page);
  // axe needs timers, which are off without scripts.
  if (!mode.script) await devtools.send("Emulation.setScriptExecutionDisabled", { value: false });
  const has = await devtools.send("Runtime.evaluate", { expression: "typeof axe", returnByValue: true });
  if (has.result.value !== "object") await devtools.send("Runtime.evaluate", { expression: AXE });
  for (const scheme of [mode.scheme, mode.scheme === "light" ? "dark" : "light"]) {
    await page.emulateMedia({ colorScheme: scheme });
    const run = await devtools.send("Runtime.evaluate", {
      expression: `axe.run(document, { resultTypes: ["violations"] }).then((found) => JSON.stringify(found.violations.map((v) =>
        v.id + ": " + v.nodes.map((n) => n.target.join(" ") + " (" + n.failureSummary.split("\\n").slice(1).join(";").trim() + ")").join(" | "))))`,
      awaitPromise: true,
      returnByValue: true,
    });
    assert.ok(run.result.value, JSON.stringify(run));
    assert.deepEqual(JSON.parse(run.result.value), [], `axe, ${scheme}, ${mode.width} px, ${page.url()}`);
  }
  await page.emulateMedia({ colorScheme: mode.scheme });
  if (!mode.script) await devtools.send("Emulation.setScriptExecutionDisabled", { value: true });
}

// --- what hands do

export const button = (where, name) => where.getByRole("button", { name, exact: true });
export const link = (where, name) => where.getByRole("link", { name, exact: true });
export const field = (where, label) => where.getByLabel(label);

/// What the last action did, as the page says it.
export async function said(page, text) {
  await page.locator("[data-flash]").filter({ hasText: text }).waitFor();
}

/// What has the focus, by its words.
export function focused(page) {
  return page.evaluate(() => {
    const element = document.activeElement;
    return (element.getAttribute("aria-label") ?? element.labels?.[0]?.textContent ?? element.textContent).trim();
  });
}

/// Presses Tab until the thing with these words has the focus.
export async function tabTo(page, words) {
  for (let presses = 0; presses < 60; presses += 1) {
    await page.keyboard.press("Tab");
    const here = await focused(page);
    if (here === words) return;
  }
  assert.fail(`Tab never reaches ${words}`);
}

/// Opens a pop-up by its link: in place with the script, as a page of its own without.
export async function popUp(page, name) {
  await link(page, name).click();
  const dialog = page.getByRole("dialog");
  await dialog.waitFor();
  assert.equal(await focused(page), "Cancel", "Cancel has the focus");
  return dialog;
}

/// Presses Test key, and reads the answer, wherever it shows.
export async function testKey(page, press) {
  if (page.mode.script) {
    await press.click();
    const area = page.locator(".test-area:visible .test-result, .test-area:visible:has-text('.')").first();
    await area.waitFor();
    return area.innerText();
  }
  const blank = await press.getAttribute("formtarget");
  const [tab] = await Promise.all([blank ? page.context().waitForEvent("page") : page, press.click()]);
  await tab.locator("#test-result").waitFor();
  if (tab !== page) {
    await withoutScripts(tab);
    tab.mode = page.mode;
    tab.problems = page.problems;
  }
  await check(tab);
  const text = await tab.locator("#test-result").innerText();
  if (blank) await tab.close();
  else await link(tab, "Back").click();
  return text;
}
