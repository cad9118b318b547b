// Shows what /mesh says, again each second, and gives orders where the service takes them.
"use strict";

const orders = document.body.dataset.orders === "true";
const opened = new Set();

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function time(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${Math.round(ms * 10) / 10} ms`;
  const seconds = ms / 1000;
  return seconds < 120 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds / 60)} min`;
}

async function give(target, endpoint, order) {
  const path = [target, "endpoints", endpoint, order].map(encodeURIComponent);
  path[1] = "endpoints";
  const answer = await fetch(`/mesh/targets/${path.join("/")}`, { method: "POST" });
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    alert(problem.detail || `the order was answered ${answer.status}`);
  }
  await show();
}

function row(target, endpoint, explained) {
  const line = element("tr");
  line.append(element("td", endpoint.endpoint));
  const standing = element("td");
  const kind = { ready: "good", out: "bad" }[endpoint.standing] || "half";
  standing.append(element("span", endpoint.standing, kind));
  line.append(standing);
  const circuit = element("td");
  const color = { closed: "good", open: "bad" }[endpoint.circuit] || "half";
  circuit.append(element("span", endpoint.circuit.replace("_", "-"), color));
  circuit.append(` for ${time(endpoint.circuit_for_ms)}${endpoint.forced ? ", by order" : ""}`);
  line.append(circuit);
  line.append(element("td", endpoint.calls_per_second.toFixed(1), "number"));
  const failed = endpoint.failure_part;
  line.append(element("td", failed === null ? "–" : `${(failed * 100).toFixed(1)} %`, "number"));
  line.append(element("td", time(endpoint.p50_ms), "number"));
  line.append(element("td", time(endpoint.p99_ms), "number"));
  line.append(element("td", endpoint.in_flight, "number"));
  const why = element("td");
  why.append(element("div", explained || endpoint.why || "", "why"));
  if (endpoint.transitions.length > 0) {
    const key = `${target}/${endpoint.endpoint}`;
    const changes = element("details");
    changes.open = opened.has(key);
    changes.addEventListener("toggle", () => (changes.open ? opened.add(key) : opened.delete(key)));
    changes.append(element("summary", "last changes"));
    const list = element("ol");
    for (const change of [...endpoint.transitions].reverse()) {
      list.append(element("li", `${time(change.ago_ms)} ago, ${change.from} → ${change.to}: ${change.evidence}`));
    }
    changes.append(list);
    why.append(changes);
  }
  line.append(why);
  if (orders) {
    const cell = element("td");
    for (const [order, label] of [["force-open", "open"], ["force-closed", "close"], ["reset", "reset"]]) {
      const button = element("button", label);
      button.addEventListener("click", () => give(target, endpoint.endpoint, order));
      cell.append(button);
    }
    line.append(cell);
  }
  return line;
}

function section(target, explanation) {
  const made = element("section");
  const head = element("h2", target.target);
  head.append(element("small", target.address));
  made.append(head);
  const state = element("p");
  state.append(element("span", target.available ? "available" : "unavailable", target.available ? "good" : "bad"));
  const next = target.retry_in_ms === null ? "" : `, asked again in ${time(target.retry_in_ms)}`;
  state.append(`: ${target.reason}${next}. ${target.waiting_calls} calls wait, the budget has ${target.retries_left} retries.`);
  made.append(state);
  made.append(element("p", `a call now ${explanation.answer}`));
  for (const fault of target.faults) made.append(element("p", `injected: ${fault}`, "half"));
  const wide = element("div", undefined, "wide");
  const table = element("table");
  const titles = element("tr");
  const names = ["endpoint", "standing", "circuit", "calls/s", "failed", "p50", "p99", "in flight", "the next call"];
  for (const name of orders ? [...names, "order"] : names) {
    const number = ["calls/s", "failed", "p50", "p99", "in flight"].includes(name);
    titles.append(element("th", name, number ? "number" : undefined));
  }
  table.append(titles);
  const why = new Map(explanation.endpoints.map((explained) => [explained.endpoint, explained.why]));
  for (const endpoint of target.endpoints) table.append(row(target.target, endpoint, why.get(endpoint.endpoint)));
  wide.append(table);
  made.append(wide);
  return made;
}

async function read(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(`${path} was answered ${answer.status}`);
  return answer.json();
}

async function show() {
  const state = document.getElementById("state");
  try {
    const { targets } = await read("/mesh");
    const sections = targets.map(async (target) =>
      section(target, await read(`/mesh/explain?target=${encodeURIComponent(target.target)}`)));
    document.getElementById("targets").replaceChildren(...(await Promise.all(sections)));
    const told = targets.length === 0 ? "This service calls no other. " : "";
    state.textContent = `${told}As of ${new Date().toLocaleTimeString()}.` +
      (orders ? "" : " Circuits can be forced where the service was started with MESH_ADMIN=true.");
  } catch (error) {
    state.textContent = `Cannot be read: ${error.message}. Trying again.`;
  }
}

async function follow() {
  await show();
  setTimeout(follow, 1000);
}

follow();
