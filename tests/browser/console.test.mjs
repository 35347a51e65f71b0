// The console, from the setup link to an answered call, in a real browser: with the script and without, wide and narrow,
// light and dark. Any CSP report, error of the page, failed request, axe violation or sideways scroll fails the test.
import assert from 'node:assert/strict';
import { spawn, execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const require = createRequire(import.meta.url);
const AXE = require.resolve('axe-core/axe.min.js');
const BINARY = path.resolve(import.meta.dirname, '../../target/debug/keyward');
const run = promisify(execFile);
let browser;

before(async () => {
  browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  });
});
after(() => browser.close());

/** A provider that answers every chat, and every question about its models, where the key is the expected one. */
async function fakeProvider(key) {
  const server = http.createServer((request, response) => {
    const good = request.headers.authorization === `Bearer ${key}`;
    response.writeHead(good ? 200 : 401, { 'content-type': 'application/json' });
    const chat = { object: 'chat.completion', choices: [{ index: 0, message: { role: 'assistant', content: 'Hello there' } }] };
    response.end(JSON.stringify(good ? (request.url.endsWith('/models') ? { data: [] } : chat) : { error: { message: 'no such key' } }));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${server.address().port}/v1`, close: () => server.close() };
}

/** The real server on a directory of its own; resolves once it has printed its setup link. */
async function serve() {
  const dir = await mkdtemp(path.join(tmpdir(), 'keyward-browser-'));
  const child = spawn(BINARY, ['serve', '--listen', '127.0.0.1:0', '--data-dir', dir], { stdio: ['ignore', 'pipe', 'inherit'], cwd: dir, env: { PATH: process.env.PATH, KEYWARD_LOG: 'error' } });
  let printed = '';
  const link = await new Promise((resolve, reject) => {
    child.on('exit', () => reject(new Error(`it ended: ${printed}`)));
    child.stdout.on('data', (data) => {
      printed += data;
      const found = /http:\/\/\S+\/setup#\S+/.exec(printed);
      if (found) resolve(found[0]);
    });
  });
  const stop = async () => {
    const ended = new Promise((resolve) => child.on('exit', resolve));
    child.removeAllListeners('exit');
    child.on('exit', () => {});
    child.kill('SIGTERM');
    await Promise.race([ended, new Promise((resolve) => child.on('exit', resolve))]);
    await rm(dir, { recursive: true });
  };
  return { link, origin: new URL(link).origin, token: new URL(link).hash.replace(/^#(token=)?/, ''), stop };
}

for (const script of [true, false]) {
  for (const [width, colorScheme] of [[1280, 'light'], [320, 'dark']]) {
    test(`from the setup link to an answered call, ${script ? 'with' : 'without'} the script, ${width} px, ${colorScheme}`, async () => {
      const keyward = await serve();
      const provider = await fakeProvider('sk-test-value-0001');
      const context = await browser.newContext({ javaScriptEnabled: script, viewport: { width, height: 800 }, colorScheme });
      const page = await context.newPage();
      page.setDefaultTimeout(20000);
      const problems = [];
      page.on('console', (message) => ['error', 'warning'].includes(message.type()) && problems.push(message.text()));
      page.on('pageerror', (error) => problems.push(String(error)));
      page.on('requestfailed', (request) => problems.push(`${request.url()} failed`));
      const looked = async (heading) => {
        await page.getByRole('heading', { name: heading }).first().waitFor();
        if (script) {
          await page.evaluate(() => document.fonts.ready);
          const width = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
          assert.ok(width <= 0, `${heading}: scrolls sideways by ${width} px`);
          const frame = page.mainFrame();
          const session = await context.newCDPSession(page);
          const source = await (await import('node:fs/promises')).readFile(AXE, 'utf8');
          await session.send('Runtime.evaluate', { expression: source });
          const found = await frame.evaluate(() => window.axe.run());
          assert.deepEqual(found.violations.map((v) => `${v.id}: ${v.nodes[0].html}`), [], heading);
        }
        assert.deepEqual(problems, [], heading);
      };
      try {
        await page.goto(script ? keyward.link : `${keyward.origin}/setup`);
        await looked(/./);
        if (!script) await page.getByLabel(/token/i).fill(keyward.token);
        await page.locator('input[name=name]').fill('Ada');
        await page.getByLabel('Email').fill('ada@example.com');
        await page.getByLabel('Password').fill('correct horse battery');
        await page.locator('main button[type=submit], form button[type=submit]').first().click();
        await looked('API keys');

        await page.getByRole('link', { name: 'New API Key' }).first().click();
        await looked(/./);
        await page.getByLabel('API Key Name').fill('MY_API <b>"\u{1F511}"');
        await page.getByLabel('API Key Value').fill('sk-test-value-0001');
        await page.getByRole('button', { name: 'Save' }).click();
        await looked('API keys');
        await page.getByRole('cell', { name: 'sk-******001' }).waitFor();

        await page.goto(`${keyward.origin}/catalog/providers/new`);
        await looked(/./);
        await page.locator('input[name=name]').fill('Fake');
        await page.locator('select[name=kind]').selectOption('openai-compatible');
        await page.locator('input[name=base_url]').fill(provider.url);
        await page.locator('select[name=general_key_id]').selectOption({ index: 1 });
        await page.getByRole('button', { name: 'Save' }).click();
        await looked('Providers & models');
        await page.goto(`${keyward.origin}/catalog/models/new`);
        await page.locator('input[name=name]').fill('small');
        await page.locator('select[name=provider_id]').selectOption({ label: 'Fake' });
        await page.getByRole('button', { name: 'Save' }).click();
        await looked('Providers & models');

        await page.goto(`${keyward.origin}/keys/agent/new`);
        await looked(/./);
        await page.getByLabel('API Key Name').fill('ABC-Key');
        await page.getByRole('button', { name: 'Save' }).click();
        await looked('Agent API key created');
        const command = (await page.locator('pre').first().textContent()).trim();
        const { stdout } = await run('sh', ['-c', command]);
        assert.equal(JSON.parse(stdout).choices[0].message.content, 'Hello there');

        await page.goto(`${keyward.origin}/audit`);
        await looked('Audit log');
        await page.goto(`${keyward.origin}/keys/agent`);
        await looked('API keys');
        await page.getByRole('link', { name: 'Delete ABC-Key' }).click();
        await looked(/Delete ABC-Key/);
        // It was used just now, so its name is asked for as soon as that is known.
        while (await page.locator('input[name=confirm_name]').count() === 0) await page.goto(page.url());
        await page.locator('input[name=confirm_name]').fill('ABC-Key');
        await page.getByRole('button', { name: 'Delete' }).click();
        await page.getByText('Agent API key deleted').waitFor();
        await looked('API keys');
        const refused = await run('sh', ['-c', `${command} -s -o /dev/null -w '%{http_code}'`]);
        assert.equal(refused.stdout, '401');
      } finally {
        await context.close();
        provider.close();
        await keyward.stop();
      }
    });
  }
}
