// What must be refused, by requests that no browser of ours would send.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { OWNER, claim, ours, send, signIn, startServer } from "./harness.mjs";

let server, cookie;
before(async () => {
  server = await startServer();
  cookie = await claim(server);
});
after(() => server.stop());

test("forms from another origin, from none and from null are refused, and nothing is saved", async () => {
  const page = await send(server, "GET", "/keys/agent/new", { headers: { cookie } });
  const nonce = page.text.match(/name="nonce" value="([^"]+)"/)[1];
  for (const headers of [
    {}, { origin: "null" }, { origin: "http://evil.example" }, { origin: `http://127.0.0.1:${server.port + 1}` },
    { "sec-fetch-site": "cross-site", ...ours(server) }, { "sec-fetch-site": "same-site", ...ours(server) }, { "sec-fetch-site": "none" },
  ]) {
    for (const [path, form] of [["/keys/agent/new", { name: "Forged", expires_in_days: "", nonce }], ["/sign-in", { email: OWNER.email, password: OWNER.password, next: "" }], ["/sign-out", {}]]) {
      const answer = await send(server, "POST", path, { headers: { cookie, ...headers }, form });
      assert.equal(answer.status, 403, `${path} ${JSON.stringify(headers)}`);
      assert.match(answer.text, /This form did not come from Keyward/);
      assert.equal(answer.headers["set-cookie"], undefined);
    }
  }
  const list = await send(server, "GET", "/keys/agent", { headers: { cookie } });
  assert.equal(list.status, 200, "still signed in");
  assert.doesNotMatch(list.text, /Forged/);
});

test("a Host that is not ours is answered with 421", async () => {
  for (const host of ["evil.example", "keyward.example:80", "127.0.0.1.evil.example"]) {
    for (const path of ["/", "/sign-in", "/keys/general", "/assets/keyward.js"]) {
      assert.equal((await send(server, "GET", path, { headers: { host, cookie } })).status, 421, `${host} ${path}`);
    }
  }
  assert.equal((await send(server, "GET", "/sign-in", { headers: { host: `localhost:${server.port}` } })).status, 200);
});

test("every page carries the policy and is not stored", async () => {
  for (const path of ["/sign-in", "/keys/general", "/keys/agent/new", "/no-such-page"]) {
    const { headers } = await send(server, "GET", path, { headers: { cookie } });
    assert.match(headers["content-security-policy"], /^default-src 'none'; script-src 'self'/, path);
    assert.equal(headers["cache-control"], "no-store", path);
    assert.equal(headers["referrer-policy"], "same-origin", path);
  }
});

test("a setup token used at once makes one owner; used later it leads to signing in", async () => {
  const fresh = await startServer();
  try {
    const claimAs = (email) => send(fresh, "POST", "/setup", { headers: ours(fresh), form: { token: fresh.setupToken, ...OWNER, email } });
    const wrong = await send(fresh, "POST", "/setup", { headers: ours(fresh), form: { token: "wrong", ...OWNER } });
    assert.ok(wrong.status >= 400 && wrong.status < 500, `${wrong.status}`);
    const answers = await Promise.all(["a", "b", "c", "d"].map((who) => claimAs(`${who}@example.com`)));
    assert.equal(answers.filter(({ headers }) => headers["set-cookie"]).length, 1);
    assert.ok(answers.every(({ status }) => status < 500), answers.map(({ status }) => status).join(" "));
    const late = await claimAs("late@example.com");
    assert.equal(late.headers["set-cookie"], undefined);
    assert.equal(late.headers.location, "/sign-in");
  } finally {
    await fresh.stop();
  }
});

test("a wrong password a hundred times is slowed down, and the right one works afterwards and from elsewhere", async () => {
  const known = await signIn(server, { localAddress: "127.0.0.2" });
  assert.equal(known.status, 303);
  const statuses = [];
  for (let i = 0; i < 100; i += 1) {
    const email = [OWNER.email, "ADA@example.com", " Ada@Example.com "][i % 3]; // neither case nor spaces help
    const answer = await signIn(server, { email, password: `wrong ${i}`, localAddress: "127.0.0.3" });
    statuses.push(answer.status);
    if (answer.status === 429) assert.ok(Number(answer.headers["retry-after"]) >= 1);
  }
  assert.ok(statuses.every((status) => status === 401 || status === 429), statuses.join(" "));
  assert.ok(statuses.filter((status) => status === 429).length >= 50, statuses.join(" "));
  assert.equal((await signIn(server, { localAddress: "127.0.0.2" })).status, 303, "from where the owner signed in before");
  for (;;) {
    const answer = await signIn(server, { localAddress: "127.0.0.3" });
    if (answer.status !== 429) {
      assert.equal(answer.status, 303, "from where the guesses came");
      break;
    }
    await new Promise((done) => setTimeout(done, Number(answer.headers["retry-after"]) * 1000));
  }
});

test("a password of 1 MB is refused without harm; e-mail takes case and spaces", async () => {
  const answer = await signIn(server, { password: "x".repeat(1024 * 1024), localAddress: "127.0.0.4" }).catch((error) => error);
  if (!(answer instanceof Error)) assert.ok(answer.status >= 400 && answer.status < 500, `${answer.status}`);
  assert.equal((await signIn(server, { email: "  ADA@Example.COM ", localAddress: "127.0.0.4" })).status, 303);
  assert.equal((await signIn(server, { password: `${OWNER.password} `, localAddress: "127.0.0.4" })).status, 401, "a password is taken as typed");
});
