// Makes the console's pages nicer to use. Every page does its work without this file.

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

// --- times: in the reader's own zone, and kept true while the page stands open

const relativeFormat = new Intl.RelativeTimeFormat("en", { numeric: "always" });
const steps = [["year", 31557600], ["month", 2629800], ["day", 86400], ["hour", 3600], ["minute", 60]];

function relative(date) {
  const seconds = (date - Date.now()) / 1000;
  for (const [unit, size] of steps) {
    if (Math.abs(seconds) >= size) return relativeFormat.format(Math.trunc(seconds / size), unit);
  }
  return "just now";
}

const day = (date) => `${date.getDate()} ${date.toLocaleString("en-US", { month: "short" })} ${date.getFullYear()}`;
const moment = (date) => `${day(date)}, ${date.toLocaleTimeString("en-GB", { timeZoneName: "short" })}`;

function untilWords(date) {
  const midnight = (of) => new Date(of.getFullYear(), of.getMonth(), of.getDate());
  const days = Math.round((midnight(date) - midnight(new Date())) / 86400000);
  return days === 0 ? "today" : days === 1 ? "tomorrow" : `in ${days} days`;
}

function showTimes(root = document) {
  for (const time of $$("time[datetime]", root)) {
    const date = new Date(time.dateTime);
    if (isNaN(date)) continue;
    if ("relative" in time.dataset) [time.textContent, time.title] = [relative(date), moment(date)];
    else if ("date" in time.dataset) [time.textContent, time.title] = [day(date), `${relative(date)}, ${moment(date)}`];
    else if ("until" in time.dataset) time.textContent = `Expires ${untilWords(date)}`;
    else if ("exact" in time.dataset) [time.textContent, time.title] = [moment(date), relative(date)];
  }
}

// --- copy: says 'Copied' only after it happened

function selectText(element) {
  if (!element.select) return getSelection().selectAllChildren(element);
  element.focus();
  element.select();
}

async function copied(element) {
  const text = element.value ?? element.textContent;
  try {
    await navigator.clipboard.writeText(text); // absent over plain http on a name that is not localhost
    return true;
  } catch {
    selectText(element);
    return document.execCommand("copy"); // false where it is refused
  }
}

function enableCopy() {
  const status = $("[data-copy-status]");
  for (const button of $$("[data-copy]")) {
    const label = $("[data-copy-label]", button);
    const first = label.textContent;
    let timer;
    button.addEventListener("click", async () => {
      const source = document.getElementById(button.dataset.copy);
      const done = await copied(source);
      if (done && (source.value ?? source.textContent).includes($("#secret")?.value)) secretIsSafe = true;
      label.textContent = status.textContent = done ? "Copied" : "Press Ctrl+C";
      clearTimeout(timer);
      timer = setTimeout(() => { label.textContent = first; status.textContent = ""; }, 4000);
    });
  }
  for (const input of $$("[data-select]")) input.addEventListener("focus", () => input.select());
}

// --- show once: leaving before the secret was copied asks once

let secretIsSafe = false;

function guardSecret() {
  if (!$("[data-show-once]")) return;
  const secret = $("#secret");
  document.addEventListener("copy", () => {
    if (document.activeElement === secret || String(getSelection()).includes(secret.value)) secretIsSafe = true;
  });
  addEventListener("beforeunload", (event) => {
    if (secretIsSafe) return;
    secretIsSafe = true;
    event.preventDefault();
  });
}

// --- show once: tells when the key's first call came

async function awaitFirstCall() {
  const place = $("[data-first-call]");
  if (!place) return;
  const found = document.hidden ? null : await page(place.dataset.firstCall).then((found) => $("[data-used]", found), () => null);
  if (found) place.replaceChildren(found);
  else setTimeout(awaitFirstCall, 2000);
}

// --- tabs: sections that follow one another become panels of a tab list

function enableTabs(root) {
  const panels = $$("[data-tab]", root);
  const list = document.createElement("div");
  list.className = list.role = "tablist";
  list.setAttribute("aria-label", root.getAttribute("aria-label"));
  const tabs = panels.map((panel) => {
    const tab = document.createElement("button");
    Object.assign(tab, { type: "button", role: "tab", id: `${panel.id}-tab`, textContent: panel.dataset.tab });
    tab.setAttribute("aria-controls", panel.id);
    panel.role = "tabpanel";
    panel.setAttribute("aria-labelledby", tab.id);
    tab.addEventListener("click", () => choose(tab));
    return tab;
  });
  list.append(...tabs);
  const choose = (chosen) => tabs.forEach((tab, i) => {
    tab.setAttribute("aria-selected", tab === chosen);
    tab.tabIndex = tab === chosen ? 0 : -1;
    panels[i].hidden = tab !== chosen;
  });
  list.addEventListener("keydown", (event) => {
    const at = tabs.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    tabs.at(to % tabs.length).click();
    tabs.at(to % tabs.length).focus();
  });
  root.removeAttribute("aria-label");
  root.dataset.tabs = "on";
  root.prepend(list);
  choose(tabs[0]);
}

// --- pop-ups: a link to a page with a pop-up opens it in place; a page that came with one makes it modal

function openDialog(dialog, onClose) {
  dialog.open = false;
  dialog.addEventListener("close", onClose);
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.closest("[data-close]")) {
      event.preventDefault();
      dialog.close();
    }
  });
  dialog.showModal();
}

async function page(url, options) {
  const answer = await fetch(url, { headers: { accept: "text/html" }, ...options });
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

async function followToDialog(event) {
  const link = event.target.closest("a[data-dialog]");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  const dialog = await page(link.href).then((found) => $("dialog", found), () => null);
  if (!dialog) return location.assign(link.href); // signed out, deleted meanwhile: show that page
  document.body.append(dialog);
  showTimes(dialog);
  openDialog(dialog, () => { dialog.remove(); link.focus(); });
}

function adoptDialog() {
  const dialog = $("dialog[open]");
  if (!dialog) return;
  $(".shell").inert = false; // a modal dialog makes everything else inert by itself
  openDialog(dialog, () => location.assign($("[data-close]", dialog).href));
}

// --- test key: the answer in place instead of in a tab of its own

async function testKey(event) {
  const button = event.submitter;
  if (!button?.dataset.test) return;
  event.preventDefault();
  const area = document.getElementById(button.dataset.test);
  area.textContent = "Asking the provider…";
  button.disabled = true;
  try {
    const body = new URLSearchParams(new FormData(event.target));
    const found = await page(button.getAttribute("formaction") ?? event.target.action, { method: "POST", body });
    area.replaceChildren($("#test-result", found) ?? $("h1", found)?.textContent ?? "No answer.");
  } catch {
    area.textContent = "Keyward could not be reached.";
  }
  button.disabled = false;
}

// --- a form sent after its session ended: what was typed comes back after signing in, secrets excepted

const KEPT = "keyward-typed";
const TYPED = "input:not([type=hidden], [type=checkbox], [type=password], .concealed), select";

function keepTyped(form) {
  if (!form.matches(".form")) return;
  const fields = $$(TYPED, form).map((field) => [field.name, field.value]);
  sessionStorage.setItem(KEPT, JSON.stringify({ path: location.pathname, fields }));
}

function restoreTyped() {
  const kept = JSON.parse(sessionStorage.getItem(KEPT));
  if (!kept || !$(".shell") && !$("[data-session-ended]")) return; // signing in
  sessionStorage.removeItem(KEPT);
  if ($("[data-session-ended]")) return sessionStorage.setItem(KEPT, JSON.stringify({ ...kept, ended: true }));
  if (!kept.ended || kept.path !== location.pathname) return;
  for (const [name, value] of kept.fields) {
    const field = $$(TYPED).find((field) => field.name === name && field.form?.matches(".form"));
    if (!field) continue;
    field.value = value;
    field.closest("details")?.toggleAttribute("open", value !== "");
    field.dispatchEvent(new Event("input"));
  }
}

// --- small things

function takeSetupToken() {
  const input = $("[data-setup] [name=token]");
  const token = decodeURIComponent(location.hash.replace(/^#(token=)?/, ""));
  if (!input || !token) return;
  input.value = token;
  $("[data-token]").hidden = true;
  $("[data-setup] input:not([type=hidden], [name=token])").focus();
  history.replaceState(null, "", location.pathname);
}

function showExpiry() {
  const input = $("[data-days]");
  input?.addEventListener("input", () => {
    const days = Number(input.value || input.max);
    if (!input.validity.valid || !days) return;
    const time = $("time", document.getElementById(input.dataset.days));
    time.dateTime = new Date(Date.now() + days * 86400000).toISOString();
    showTimes(time.parentElement);
  });
}

function suggestBaseUrl() {
  const kind = $("select#kind");
  if (!kind) return;
  kind.onchange = () => { $("#base_url").placeholder = kind.selectedOptions[0]?.dataset.baseUrl ?? ""; };
  kind.onchange();
}

function forgetDone() {
  const url = new URL(location);
  if (!url.searchParams.has("done")) return;
  url.searchParams.delete("done");
  history.replaceState(null, "", url);
}

document.addEventListener("submit", (event) => {
  testKey(event);
  if (event.defaultPrevented || event.target.method !== "post" || event.submitter?.formTarget === "_blank") return;
  secretIsSafe = true;
  keepTyped(event.target);
  setTimeout(() => { if (event.submitter) event.submitter.disabled = event.submitter.dataset.sent = true; }); // one press, one post
});
// A box that ticks all others of its list.
for (const list of $$("[data-checks]")) {
  const all = list.querySelector("[data-check-all]");
  const boxes = () => [...list.querySelectorAll("input[type=checkbox]:not([data-check-all]):not(:disabled)")];
  all?.addEventListener("change", () => boxes().forEach((box) => { box.checked = all.checked; }));
  list.addEventListener("change", () => { all.checked = boxes().length > 0 && boxes().every((box) => box.checked); });
}

addEventListener("pageshow", () => $$("button[data-sent]").forEach((button) => { button.disabled = false; })); // after Back

document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.target.closest("input, textarea, select, dialog")) {
    const search = $("[data-search]");
    if (!search) return;
    event.preventDefault();
    search.focus();
  }
  if (event.key === "Escape") {
    const menu = $("details[data-menu][open]");
    if (menu) { menu.open = false; $("summary", menu).focus(); }
  }
});
document.addEventListener("click", (event) => {
  $$("details[data-menu][open]").filter((menu) => !menu.contains(event.target)).forEach((menu) => { menu.open = false; });
  followToDialog(event);
});

showTimes();
setInterval(showTimes, 30000);
enableCopy();
guardSecret();
$$("[data-tabs]").forEach(enableTabs);
adoptDialog();
takeSetupToken();
showExpiry();
awaitFirstCall();
suggestBaseUrl();
restoreTyped();
forgetDone();
