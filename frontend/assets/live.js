// Keeps the page fresh: fetches it again every two seconds and puts in place what changed, row by row, so
// that pictures do not flicker and the keyboard's focus stays. The page is whole without it.
"use strict";

const INTERVAL = 2000;
const LONGEST = 30000;
const note = document.querySelector(".live");
const served = new Map();
let wait = INTERVAL;
let done = settled(document);

function localize(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const date = new Date(time.dateTime);
    time.title = time.textContent;
    time.textContent = date.toLocaleString(undefined, {
      month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit",
    });
  }
}

function rowsOf(element) {
  return element.querySelector("[data-rows]");
}

function remember(element) {
  served.set(element.id, element.outerHTML);
  for (const row of rowsOf(element)?.children ?? []) served.set(row.id, row.outerHTML);
}

function put(before, after) {
  const focused = before.contains(document.activeElement) ? document.activeElement : null;
  const trail = focused && (focused.id ? `#${CSS.escape(focused.id)}` : focused.getAttribute("href") && `[href="${CSS.escape(focused.getAttribute("href"))}"]`);
  remember(after);
  localize(after);
  before.replaceWith(after);
  if (trail) after.querySelector(trail)?.focus();
}

function refresh(before, after) {
  if (after.dataset.live === "text") {
    // In place, so that screen readers hear of the change.
    if (before.textContent !== after.textContent) before.textContent = after.textContent;
    return;
  }
  const olds = rowsOf(before);
  const news = rowsOf(after);
  if (!olds || !news) {
    if (served.get(before.id) !== after.outerHTML) put(before, after);
    return;
  }
  const wanted = [...news.children];
  const ids = new Set(wanted.map((row) => row.id));
  for (const row of [...olds.children]) {
    if (!ids.has(row.id)) {
      served.delete(row.id);
      row.remove();
    }
  }
  wanted.forEach((row, index) => {
    const known = document.getElementById(row.id);
    const place = olds.children[index] ?? null;
    if (!known) {
      remember(row);
      localize(row);
      olds.insertBefore(row, place);
    } else {
      if (known !== place) olds.insertBefore(known, place);
      if (served.get(row.id) !== row.outerHTML) put(known, row);
    }
  });
}

function settled(page) {
  return page.querySelector("meta[name=settled]") !== null;
}

async function poll() {
  if (done || document.hidden) return;
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const after of fresh.querySelectorAll("[data-live]")) {
      const before = document.getElementById(after.id);
      if (before) refresh(before, document.importNode(after, true));
    }
    document.title = fresh.title;
    done = settled(fresh);
    note.textContent = done ? "" : "live";
    note.classList.remove("away");
    wait = INTERVAL;
  } catch {
    note.textContent = "no answer, trying again";
    note.classList.add("away");
    wait = Math.min(wait * 2, LONGEST);
  }
}

document.querySelectorAll("[data-live]").forEach(remember);
localize(document);

(async () => {
  while (!done) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    await poll();
  }
})();
document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });
