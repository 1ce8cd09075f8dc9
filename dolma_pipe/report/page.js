"use strict";
// Draws the page from its facts. Text from documents reaches the page through text nodes alone.
const F = JSON.parse(document.getElementById("facts").textContent);
const main = document.getElementById("main");
const names = F.sources.map((source) => source.name);
const colour = (name) => `var(--c${names.indexOf(name) % 8})`;
const state = { unit: "documents", source: "" };
const listeners = [], movers = []; // who draws again when the unit or the source changes, and when a threshold moves
const moved = () => movers.forEach((listen) => listen());
const changed = () => { listeners.forEach((listen) => listen()); moved(); };

// Elements and text ------------------------------------------------------------------------------------------------

const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

function el(tag, settings, ...children) {
  const made = tag.startsWith("svg:") ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4)) : document.createElement(tag);
  for (const [key, value] of Object.entries(settings || {})) {
    if (key === "style") for (const [name, its] of Object.entries(value)) made.style.setProperty(name, its);
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

// What steers the direction of text or shows nothing is shown by its code instead.
function safe(text) {
  const parts = [];
  let at = 0;
  for (const found of text.matchAll(CONTROL)) {
    parts.push(text.slice(at, found.index), el("span", { class: "control" }, "U+" + found[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0")));
    at = found.index + 1;
  }
  return [...parts, text.slice(at)];
}

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const count = (number) => whole.format(Math.round(number));
const short = (number) => new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 3 }).format(number);
const size = (bytes) => {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  const step = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(bytes, 1)) / 3)));
  return `${(bytes / 10 ** (3 * step)).toFixed(step ? 2 : 0)} ${units[step]}`;
};
const amount = (value, unit) => (unit === "bytes" ? size(value) : unit === "tokens" ? short(value) : count(value));
const percent = (share) => (share > 0 && share < 0.0005 ? "<0.1 %" : `${(100 * share).toFixed(share < 0.0995 ? 1 : share < 1 ? 1 : 0)} %`);
const number = (value) => (Number.isInteger(value) && Math.abs(value) < 1e15 ? whole.format(value) : String(Number(value.toPrecision(4))));
const sum = (values) => values.reduce((total, value) => total + value, 0);

function section(id, title, about, ...children) {
  const made = el("section", { id }, el("h2", null, title), about ? el("p", { class: "soft" }, about) : null, ...children);
  document.getElementById("nav").append(el("a", { href: "#" + id }, title));
  main.append(made);
  return made;
}

function segmented(options, current, choose) {
  const buttons = options.map(([value, label]) => el("button", { type: "button", "data-value": value, "aria-pressed": String(value === current), onclick: () => {
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.value === value)));
    choose(value);
  } }, label));
  return el("span", { class: "segmented" }, buttons);
}

const legend = () => names.length > 1 && el("div", { class: "legend" }, names.map((name) => el("span", null, el("i", { style: { background: colour(name) } }), safe(name))));

// Facts ------------------------------------------------------------------------------------------------------------

const ARRAYS = { u1: Uint8Array, u2: Uint16Array, i4: Int32Array, f4: Float32Array, f8: Float64Array };

function unpacked(packed) {
  const text = atob(packed.data), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new ARRAYS[packed.type](bytes.buffer);
}

const stageOf = (key) => F.stages.find((stage) => stage.key === key);
const total = (stage, unit) => sum(Object.values(stage.amounts).map((its) => its[unit] || 0));
const hasTokens = F.stages.some((stage) => stage.key === "shards");
const units = [["documents", "documents"], ["bytes", "text"], ...(hasTokens ? [["tokens", "tokens"]] : [])];
const isMix = F.rules.length > 0 || F.stages.length > 1;
const weightOf = (name) => F.sample[name].population / Math.max(F.sample[name].count, 1);
const isWhole = (name) => F.sample[name].count === F.sample[name].population;
const sampled = names.filter((name) => F.sample[name]);

// Half of a 95 % interval for the number of documents of a source of which `hits` were seen in its sample.
function margin(name, hits) {
  const { count: n, population: N } = F.sample[name];
  if (n >= N) return 0;
  const share = (hits + 1) / (n + 2);
  return 1.96 * N * Math.sqrt((share * (1 - share) / n) * (1 - n / N));
}

function overview() {
  const read = F.stages[0], last = stageOf("kept"), shards = stageOf("shards");
  const documents = total(read, "documents");
  const kpis = [[count(documents), isMix ? "documents read" : "documents"], [size(total(read, "bytes")), isMix ? "of text read" : "of text"]];
  let lead = `${count(documents)} documents in ${names.length} source${names.length > 1 ? "s" : ""}, as they were measured.`;
  if (last) {
    const kept = sum(F.sources.map((source) => source.kept.documents)), held = sum(F.sources.map((source) => sum(Object.values(source.splits).map((its) => its.documents))));
    lead = `Of ${count(documents)} documents in ${names.length} source${names.length > 1 ? "s" : ""} the mix writes ${count(kept)} (${percent(kept / Math.max(documents, 1))})` + (held ? `, and holds out ${count(held)}.` : ".");
    kpis.push([count(total(last, "documents")), "written for training"], [size(total(last, "bytes")), "of text written"]);
    if (held) kpis.push([count(held), "held out"]);
  }
  if (shards) kpis.push([short(total(shards, "tokens")), "tokens in shards"]);
  const quarantined = sum(F.sources.map((source) => source.quarantined || 0));
  if (quarantined) kpis.push([count(quarantined), "rows that could not be read"]);
  main.append(el("div", { id: "overview" }, el("h1", null, safe(F.title)), el("p", { class: "lead" }, lead),
    el("div", { class: "kpis" }, kpis.map(([value, label]) => el("div", { class: "card kpi" }, el("b", null, value), el("span", null, label))))));
}

function funnel() {
  if (!isMix) return;
  const rows = el("div", { class: "card" });
  const draw = () => {
    const most = Math.max(...F.stages.map((stage) => total(stage, state.unit)), 1), first = total(F.stages[0], state.unit);
    rows.replaceChildren(...F.stages.map((stage, place) => {
      const value = total(stage, state.unit), next = F.stages[place + 1];
      const about = (stage.is_estimate && state.unit === "tokens" ? "≈ " : "") + amount(value, state.unit);
      const lost = next ? value - total(next, state.unit) : 0;
      return el("div", { class: "stage", "data-stage": stage.key, "data-value": value }, el("b", null, stage.label),
        el("div", { class: "track" }, names.map((name) => el("i", { title: `${name}: ${amount((stage.amounts[name] || {})[state.unit] || 0, state.unit)}`, style: { width: `${(100 * ((stage.amounts[name] || {})[state.unit] || 0)) / most}%`, background: colour(name) } }))),
        el("div", { class: "number" }, el("b", null, about), el("br"), el("small", null, percent(value / Math.max(first, 1))), movedTo(stage)),
        el("div", { class: "loss" }, lost > 0 ? [el("em", null, "− " + amount(lost, state.unit)), " ", lossOf(next)] : lost < 0 ? ["+ " + amount(-lost, state.unit) + " by repeated copies"] : null));
    }));
  };
  movers.push(draw);
  const held = F.sources.flatMap((source) => Object.entries(source.splits || {}).map(([split, its]) => `${count(its.documents)} of ${source.name} to ${split}`));
  section("funnel", "Funnel", "From what was read to what a model sees. A document counts under the first step that removes it.",
    el("div", { class: "row", style: { "margin-bottom": ".8rem" } }, legend() || el("span"), segmented(units, state.unit, (unit) => { state.unit = unit; changed(); })),
    rows, held.length ? el("p", { class: "soft", style: { "margin-top": ".8rem" } }, "Held out: " + held.join(", ") + ".") : null);
  draw();
  reasons();
}

// A stage under the thresholds that are set now; what follows the rules is scaled as what is written.
function movedTo(stage) {
  if (!engine || !engine.isMoved() || stage.key === "read" || stage.key === "shards") return null;
  const found = engine.outcome(stage.key === "rules" ? "rules" : "written", ""), scale = stage.key === "rules" ? 1 : total(stage, state.unit) / Math.max(found.base, 1);
  return el("div", { class: "tag now", "data-now": found.now * scale }, `≈ ${amount(found.now * scale, state.unit)} ± ${amount(found.margin * scale, state.unit)}`);
}

function lossOf(stage) {
  const said = { rules: "fail a rule", edit: "have too little left after edits", sample: "not sampled", kept: "held out, or changed by edits and copies", shards: "between documents and shards" };
  if (stage.key !== "dedup") return said[stage.key] || "";
  const sets = [...new Set(F.reasons.map((reason) => reason.reason).filter((name) => name.startsWith("dedup") || !["rules", "empty_after_edit", "keep_after", "not_sampled", "over_limit"].includes(name)))];
  return `have a better copy (${sets.join(", ")})`;
}

function reasons() {
  if (!F.rules.length) return;
  const body = el("tbody");
  const draw = () => {
    const rows = F.rules.map((rule, place) => ({ rule, place, alone: sum(Object.values(rule.counts).map((c) => c.failed.documents)), only: sum(Object.values(rule.counts).map((c) => c.only.documents)) }));
    const most = Math.max(...rows.map((row) => row.alone), 1), now = engine ? engine.reasons() : null;
    rows.sort((a, b) => b.alone - a.alone || a.place - b.place);
    body.replaceChildren(...rows.map(({ rule, place, alone, only }) => el("tr", { "data-rule": rule.name },
      el("td", { class: "name" }, el("b", null, safe(rule.name)), alone ? null : [" ", el("span", { class: "tag" }, "never fired")], el("br"), el("code", { class: "soft" }, safe(rule.sql))),
      el("td", { class: "name" }, el("div", { class: "bars", title: "light: fail this rule; full: fail only this rule" }, el("i", { style: { width: `${(100 * alone) / most}%` } }), el("i", { style: { width: `${(100 * only) / most}%` } }))),
      el("td", null, count(alone)), el("td", null, count(only)),
      el("td", { class: "now" }, now && now[place] && now[place].changed ? el("span", { class: "tag now" }, `≈ ${count(now[place].alone)} / ${count(now[place].only)}`) : ""))));
  };
  movers.push(draw);
  const others = F.reasons.filter((reason) => reason.reason !== "rules");
  main.lastElementChild.append(el("div", { class: "card", style: { "margin-top": "1.2rem" } }, el("h3", null, "Why documents fail"),
    el("p", { class: "soft" }, "A rule by itself (alone), and what no other rule would have dropped (only). Exact, over all documents; the last column is the sample’s estimate under the thresholds set below."),
    el("div", { class: "scroll" }, el("table", null, el("thead", null, el("tr", null, el("th", { class: "name" }, "rule"), el("th", { class: "name" }, ""), el("th", null, "alone"), el("th", null, "only"), el("th", null, "moved"))), body)),
    others.length ? [el("h3", { style: { "margin-top": "1.2rem" } }, "Removed after the rules"), el("div", { class: "scroll" }, el("table", null, el("tbody", null, others.map((reason) => el("tr", null, el("td", { class: "name" }, safe(reason.source)), el("td", { class: "name" }, safe(reason.reason)), el("td", null, count(reason.documents)), el("td", null, size(reason.bytes))))))) ] : null));
  draw();
}

// What other thresholds would do -----------------------------------------------------------------------------------

// Judges the sample again. Per document: how many rules fail (`fails`); per rule and source: which documents it fails.
function Engine() {
  const sources = sampled.map((name) => {
    const sample = F.sample[name], values = {}, fixed = {};
    for (const [sql, packed] of Object.entries(sample.values)) values[sql] = unpacked(packed);
    for (const [rule, packed] of Object.entries(sample.fixed)) fixed[rule] = unpacked(packed);
    return { name, n: sample.count, N: sample.population, bytes: unpacked(sample.bytes), survival: unpacked(sample.survival), values, fixed, fails: new Uint16Array(sample.count), failed: [], was: null };
  });
  const holds = { ">=": (a, b) => a >= b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, "<": (a, b) => a < b };

  function judge(place) {
    const rule = F.rules[place];
    for (const source of sources) {
      if (!rule.counts[source.name]) continue;
      const old = source.failed[place], now = new Uint8Array(source.n);
      if (rule.clauses.length) for (const clause of rule.clauses) {
        const values = source.values[clause.sql], keep = holds[clause.operator], bound = clause.now;
        for (let i = 0; i < source.n; i++) if (!keep(values[i], bound)) now[i] = 1;
      } else if (source.fixed[rule.name]) now.set(source.fixed[rule.name]);
      for (let i = 0; i < source.n; i++) source.fails[i] += now[i] - (old ? old[i] : 0);
      source.failed[place] = now;
    }
  }

  // Difference to the mix as it was made, blown up from the sample, and the variance of that.
  function difference(source, weigh) {
    const { n, N } = source, scale = N / Math.max(n, 1);
    let one = 0, square = 0, chance = 0, moved = 0, largest = 0;
    for (let i = 0; i < n; i++) {
      const is = source.fails[i] === 0 ? 1 : 0, size = state.unit === "documents" ? 1 : source.bytes[i];
      largest += size;
      if (is === source.was[i]) continue;
      const survival = weigh ? source.survival[i] : 1, change = (is - source.was[i]) * size * survival;
      one += change; square += change * change; moved += 1;
      if (weigh) chance += size * size * survival * (1 - survival);
    }
    let variance = scale * chance;
    if (n < N && n > 1 && isMoved()) { // one more changed document than was seen, so that none seen is not none at all
      square += (largest / n) ** 2;
      variance += N * N * ((square - (one * one) / n) / (n - 1) / n) * (1 - n / N);
    }
    return { change: one * scale, variance };
  }

  const isMoved = () => F.rules.some((rule) => rule.clauses.some((clause) => clause.now !== clause.value));

  F.rules.forEach((rule, place) => { rule.clauses.forEach((clause) => { clause.now = clause.value; }); judge(place); });
  for (const source of sources) source.was = Uint8Array.from(source.fails, (fails) => (fails === 0 ? 1 : 0));

  return {
    sources, judge, isMoved,
    outcome(key, name) {
      const mine = sources.filter((source) => !name || source.name === name);
      let change = 0, variance = 0;
      for (const source of mine) {
        const found = difference(source, key === "written");
        const rate = state.unit === "tokens" ? F.sources.find((its) => its.name === source.name).tokens_per_byte || 0 : 1;
        change += found.change * rate; variance += found.variance * rate * rate;
      }
      const base = sum(names.filter((its) => !name || its === name).map((its) => baseOf(key, its)));
      return { base, now: Math.max(0, base + change), margin: 1.96 * Math.sqrt(Math.max(variance, 0)) };
    },
    reasons() {
      return F.rules.map((rule, place) => {
        let alone = 0, only = 0;
        for (const source of sources) {
          const failed = source.failed[place];
          if (!failed) continue;
          const scale = source.N / Math.max(source.n, 1);
          for (let i = 0; i < source.n; i++) if (failed[i]) { alone += scale; if (source.fails[i] === 1) only += scale; }
        }
        return { alone, only, changed: isMoved() };
      });
    },
    beyond(place, index) { // documents that one comparison fails
      const clause = F.rules[place].clauses[index], keep = holds[clause.operator];
      let now = 0, was = 0, all = 0, variance = 0;
      for (const source of sources) {
        if (!F.rules[place].counts[source.name] || (state.source && source.name !== state.source)) continue;
        let here = 0;
        for (const value of source.values[clause.sql]) { if (!keep(value, clause.now)) here += 1; if (!keep(value, clause.value)) was += source.N / source.n; }
        now += (here * source.N) / Math.max(source.n, 1); all += source.N; variance += (margin(source.name, here) / 1.96) ** 2;
      }
      return { now: now / Math.max(all, 1), was: was / Math.max(all, 1), margin: (1.96 * Math.sqrt(variance)) / Math.max(all, 1) };
    },
    passes(name, row) {
      const source = sources.find((its) => its.name === name);
      return { now: source.fails[row] === 0, was: source.was[row] === 1 };
    },
  };
}

function baseOf(key, name) {
  const source = F.sources.find((its) => its.name === name), unit = state.unit === "documents" ? "documents" : "bytes";
  const rate = state.unit === "tokens" ? source.tokens_per_byte || 0 : 1;
  if (key === "read") return source.read[unit] * rate;
  if (key === "rules") return (source.read[unit] - (source.lost.rules || { documents: 0, bytes: 0 })[unit]) * rate;
  return (source.kept[unit] + sum(Object.values(source.splits).map((its) => its[unit]))) * rate;
}

const BENDS = { linear: [(x) => x, (t) => t], root: [(x) => Math.sqrt(Math.max(x, 0)), (t) => t * t], log: [(x) => Math.log1p(Math.max(x, 0)), Math.expm1] };
const placeOn = (chart, value) => { const [bend] = BENDS[chart.scale], low = bend(chart.low), high = bend(chart.high); return Math.min(1, Math.max(0, (bend(value) - low) / (high - low))); };
const valueAt = (chart, place) => { const [bend, back] = BENDS[chart.scale], low = bend(chart.low), high = bend(chart.high); return back(low + place * (high - low)); };
const nice = (chart, value) => (chart.is_whole ? Math.round(value) + 0 : Number(value.toPrecision(3)));

// Bars of a chart, weighted to the documents of the sources; `isBeyond` tells which bins lie behind a threshold.
function bars(chart, isBeyond, lines, sources) {
  const mine = Object.keys(chart.bins).filter((name) => (!state.source || name === state.source) && (!sources || sources[name]));
  const length = Object.values(chart.bins)[0].length, heights = Array.from({ length }, (_, bin) => sum(mine.map((name) => chart.bins[name][bin] * weightOf(name))));
  const most = Math.sqrt(Math.max(...heights, 1)), width = 320 / length;
  const plot = el("svg:svg", { class: "plot", viewBox: "0 0 320 92", preserveAspectRatio: "none", role: "img", "aria-label": "histogram" });
  heights.forEach((height, bin) => {
    const tall = height ? Math.max(1.5, (88 * Math.sqrt(height)) / most) : 0;
    plot.append(el("svg:rect", { x: bin * width + 0.5, y: 90 - tall, width: width - 1, height: tall, class: isBeyond(valueAt(chart, (bin + 0.5) / length)) ? "beyond" : null }, el("svg:title", null, `${number(Number(valueAt(chart, bin / length).toPrecision(3)))} to ${number(Number(valueAt(chart, (bin + 1) / length).toPrecision(3)))}: ≈ ${count(height)} documents`)));
  });
  plot.append(el("svg:line", { class: "base", x1: 0, x2: 320, y1: 90, y2: 90 }));
  lines.forEach(([value, kind]) => { const x = 320 * placeOn(chart, value); plot.append(el("svg:line", { class: kind, x1: x, x2: x, y1: 0, y2: 92 })); });
  return plot;
}

const axis = (chart) => el("div", { class: "axis" }, [0, 0.25, 0.5, 0.75, 1].map((place) => el("span", null, number(nice(chart, valueAt(chart, place))))));
const passesAll = (clauses, value) => clauses.every((c) => (c.operator === ">=" ? value >= c.now : c.operator === ">" ? value > c.now : c.operator === "<=" ? value <= c.now : value < c.now));

const SIGNS = { ">=": "≥", ">": ">", "<=": "≤", "<": "<" };

let engine = null;

function thresholds() {
  const movable = F.rules.map((rule, place) => ({ rule, place })).filter(({ rule }) => rule.clauses.length), fixed = F.rules.filter((rule) => !rule.clauses.length);
  if (!F.rules.length || !sampled.length) return;
  engine = Engine();
  const outcomes = el("div", { class: "outcomes" }), changes = el("pre", { id: "changes", hidden: true }), head = el("b", { id: "moved" }, "");
  const sizes = sampled.map((name) => isWhole(name) ? `every document of ${name}` : `${count(F.sample[name].count)} of the ${count(F.sample[name].population)} of ${name}`).join(", ");
  const summary = () => {
    const keys = [["rules", "Pass every rule"], ["written", "Written, held out included"]];
    outcomes.replaceChildren(...keys.flatMap(([key, label]) => {
      const found = engine.outcome(key, state.source), read = Math.max(sum(names.filter((its) => !state.source || its === state.source).map((its) => baseOf("read", its))), 1);
      const delta = found.now - found.base, isMoved = engine.isMoved();
      return el("div", { class: "outcome", "data-outcome": key, "data-now": found.now, "data-base": found.base, "data-margin": found.margin }, el("span", { class: "soft" }, label), el("br"),
        el("b", null, (isMoved ? "≈ " : "") + amount(found.now, state.unit)), " ",
        isMoved ? [el("span", { class: "soft" }, `± ${amount(found.margin, state.unit)} `), el("span", { class: "delta " + (delta < 0 ? "down" : "up") }, `${delta < 0 ? "−" : "+"} ${amount(Math.abs(delta), state.unit)}`)] : el("span", { class: "soft" }, "as the mix was made"),
        el("div", { class: "track" }, el("i", { style: { width: `${(100 * found.now) / read}%` } }), el("u", { style: { left: `${(100 * found.base) / read}%` } })));
    }));
    const moved = F.rules.filter((rule) => rule.clauses.some((clause) => clause.now !== clause.value));
    head.textContent = moved.length ? `${moved.length} rule${moved.length > 1 ? "s" : ""} moved` : "Move a threshold";
    changes.hidden = !moved.length;
    changes.textContent = "# for the mix: rules as they are set here\n" + moved.map((rule) => `${rule.name}: ${JSON.stringify(rule.clauses.map((c) => `${c.sql} ${c.operator} ${c.now}`).join(" AND "))}`).join("\n");
  };
  const cards = movable.map(({ rule, place }) => thresholdCard(rule, place));
  const reset = () => { movable.forEach(({ rule, place }) => { rule.clauses.forEach((clause) => { clause.now = clause.value; }); engine.judge(place); }); changed(); };
  movers.push(summary);
  listeners.push(...cards.map((card) => card.draw));
  const choose = names.length > 1 ? el("select", { id: "source", "aria-label": "Source", onchange: (event) => { state.source = event.target.value; changed(); } }, el("option", { value: "" }, "all sources"), sampled.map((name) => el("option", { value: name }, name))) : null;
  section("thresholds", "Thresholds", `Move a threshold and see what the mix would keep. The numbers are estimated from a sample (${sizes}), drawn by a hash of the document ids; ± is a 95 % interval. What a document that newly passes meets after the rules (duplicates, edits, sampling) is not known: it counts by the share of its like that is written.`,
    el("div", { id: "whatif", class: "card" }, el("div", { class: "row" }, head, el("span", { class: "row" }, choose, segmented(units, state.unit, (unit) => { state.unit = unit; changed(); }), el("button", { class: "button", id: "reset", type: "button", onclick: reset }, "Reset"))), outcomes, changes),
    el("div", { class: "grid" }, cards.map((card) => card.node)),
    fixed.length ? el("p", { class: "soft", id: "fixed" }, "Not movable here, since they are more than comparisons with numbers; judged once per sampled document and kept as they are: ", fixed.map((rule, i) => [i ? "; " : "", el("b", null, safe(rule.name)), " ", el("code", null, safe(rule.sql))]), ".") : null);
  summary();
  cards.forEach((card) => card.draw());
}

function thresholdCard(rule, place) {
  const charts = [...new Set(rule.clauses.map((clause) => clause.sql))].map((sql) => ({ sql, chart: F.attributes.find((chart) => chart.name === sql), plot: el("div"), clauses: rule.clauses.filter((clause) => clause.sql === sql) }));
  const inputs = [];
  let waiting = false;
  const set = (clause, value) => {
    if (!Number.isFinite(value)) return;
    clause.now = value;
    if (waiting) return;
    waiting = true;
    setTimeout(() => { waiting = false; engine.judge(place); draw(); moved(); }, 16);
  };
  const controls = rule.clauses.map((clause) => {
    const chart = F.attributes.find((its) => its.name === clause.sql);
    const box = el("input", { type: "number", step: "any", "aria-label": `${rule.name} ${clause.operator}`, onchange: (event) => set(clause, Number(event.target.value)) });
    const slider = chart ? el("input", { type: "range", min: 0, max: 1000, step: 1, "data-rule": rule.name, "aria-label": `${rule.name} ${clause.operator}`, oninput: (event) => set(clause, nice(chart, valueAt(chart, Number(event.target.value) / 1000))) }) : el("span", { class: "soft" }, "the sample has one value only");
    const share = el("span", { class: "beyond-text" });
    const index = rule.clauses.indexOf(clause);
    inputs.push(() => {
      if (document.activeElement !== box) box.value = String(clause.now);
      if (chart && document.activeElement !== slider) slider.value = String(Math.round(1000 * placeOn(chart, clause.now)));
      const { now, was, margin } = engine.beyond(place, index);
      share.replaceChildren(el("b", null, percent(now)), margin ? ` ± ${percent(margin)}` : "", ` ${clause.operator[0] === ">" ? "below" : "above"}`, clause.now !== clause.value ? ` (was ${percent(was)})` : "");
    });
    return el("div", { class: "threshold" }, slider, el("code", null, SIGNS[clause.operator]), box, share);
  });
  const node = el("div", { class: "card rule", "data-rule": rule.name }, el("h3", null, el("span", null, safe(rule.name)), el("small", { class: "soft" }, names.length > 1 ? Object.keys(rule.counts).join(", ") : "")),
    charts.map(({ sql, chart, plot }) => [el("code", { class: "soft" }, safe(sql)), plot, chart ? axis(chart) : null]), controls);
  const draw = () => {
    charts.forEach(({ chart, plot, clauses }) => { if (chart) plot.replaceChildren(bars(chart, (value) => !passesAll(clauses, value), [...clauses.filter((c) => c.now !== c.value).map((c) => [c.value, "was"]), ...clauses.map((c) => [c.now, "now"])], rule.counts)); });
    inputs.forEach((refresh) => refresh());
    node.classList.toggle("changed", rule.clauses.some((clause) => clause.now !== clause.value));
  };
  return { node, draw };
}

// Attributes, composition ------------------------------------------------------------------------------------------

function attributes() {
  if (!F.attributes.length) return;
  const used = new Set(F.rules.flatMap((rule) => rule.clauses.map((clause) => clause.sql))), rest = F.attributes.filter((chart) => !used.has(chart.name));
  const groups = [...new Set(rest.map((chart) => chart.name.split(".")[0]))];
  const made = section("attributes", "Attributes", "What was measured" + (used.size ? " and no movable rule compares" : "") + ". Heights are on a square-root scale, so that rare values show; axes are bent where values crowd near zero.");
  groups.forEach((group, place) => {
    const charts = rest.filter((chart) => chart.name.split(".")[0] === group);
    const grid = el("div", { class: "grid" });
    const draw = () => grid.replaceChildren(...charts.map((chart) => el("div", { class: "card" }, el("h3", null, safe(chart.name.slice(group.length + 1) || chart.name)), bars(chart, () => false, [], null), axis(chart))));
    listeners.push(draw);
    draw();
    made.append(el("details", { open: place === 0 && !used.size }, el("summary", null, safe(group), " ", el("small", { class: "soft" }, `${charts.length} attribute${charts.length > 1 ? "s" : ""}`)), grid));
  });
}

// A list of bars by source; `rows` have a label, and the sampled documents of each source.
function ranking(title, about, rows, most) {
  const all = sum(sampled.map((name) => F.sample[name].population));
  const value = (row) => sum(Object.entries(row.hits).map(([name, hits]) => hits * weightOf(name)));
  const off = (row) => Math.sqrt(sum(sampled.map((name) => margin(name, row.hits[name] || 0) ** 2)));
  const sorted = rows.slice().sort((a, b) => value(b) - value(a)), top = sorted.slice(0, most), rest = sorted.slice(most);
  if (rest.length) top.push({ label: `${rest.length} more`, hits: rest.reduce((hits, row) => { Object.entries(row.hits).forEach(([name, n]) => { hits[name] = (hits[name] || 0) + n; }); return hits; }, {}) });
  const longest = Math.max(...top.map(value), 1);
  return el("div", { class: "card" }, el("h3", null, title), about ? el("p", { class: "soft" }, about) : null, el("div", { class: "ranking" }, top.map((row) => [
    el("bdi", null, safe(row.label)),
    el("div", { class: "track" }, sampled.map((name) => el("i", { style: { width: `${(100 * (row.hits[name] || 0) * weightOf(name)) / longest}%`, background: colour(name) } }))),
    el("span", { class: "number" }, sampled.every(isWhole) ? "" : "≈ ", percent(value(row) / Math.max(all, 1)), off(row) ? el("small", null, ` ± ${percent(off(row) / Math.max(all, 1))}`) : null),
  ])), names.length > 1 ? el("div", { style: { "margin-top": ".8rem" } }, legend()) : null);
}

function byValue(table, key) {
  const rows = new Map();
  for (const [name, list] of Object.entries(table)) for (const row of list) {
    if (!rows.has(row[key])) rows.set(row[key], { label: row[key] || "(none)", hits: {} });
    rows.get(row[key]).hits[name] = row.sampled;
  }
  return [...rows.values()];
}

function language(code) {
  try { const name = new Intl.DisplayNames(["en"], { type: "language" }).of(code.replace("_", "-")); return name && name !== code ? `${name} (${code})` : code; } catch { return code; }
}

const about = (name, hits) => (isWhole(name) ? "" : "≈ ") + count(hits * weightOf(name));

function composition() {
  if (!sampled.length) return;
  const cards = [], languages = byValue(F.languages, "value").map((row) => ({ ...row, label: language(row.label) })), origins = byValue(F.origins, "value"), copies = byValue(F.duplicates, "set");
  if (languages.length) cards.push(ranking("Languages", "of the documents read", languages, 12));
  if (origins.length > 1 || names.length > 1) cards.push(ranking("Sources", "as documents name themselves", origins, 12));
  if (lengths()) cards.push(lengths());
  if (copies.length) cards.push(ranking("Duplicates by kind", "documents read that copy another one (by parts: that repeat some part), before any rule", copies, 12));
  const exact = F.reasons.filter((reason) => !["rules", "empty_after_edit", "keep_after", "not_sampled", "over_limit"].includes(reason.reason));
  if (exact.length) cards.push(el("div", { class: "card" }, el("h3", null, "Duplicates removed"), el("p", { class: "soft" }, "among the documents that pass every rule; exact"), table(["source", "compared by", "documents", "text"], exact.map((reason) => [reason.source, reason.reason, count(reason.documents), size(reason.bytes)]), [true, true, false, false])));
  const found = Object.entries(F.personal).flatMap(([name, rows]) => rows.filter((row) => row.spans).map((row) => [name, row.field, about(name, row.sampled), about(name, row.spans)]));
  const edits = Object.entries(F.edits).flatMap(([name, its]) => Object.entries(its).map(([edit, n]) => [name, edit, count(n.documents), count(n.spans)]));
  if (Object.values(F.personal).flat().length) cards.push(el("div", { class: "card", id: "personal" }, el("h3", null, "Personal data found"), el("p", { class: "soft" }, "in the documents read; counted, never shown"), found.length ? table(["source", "kind", "documents", "places"], found, [true, true, false, false]) : el("p", null, "None in the sample.")));
  if (edits.length) cards.push(el("div", { class: "card" }, el("h3", null, "Edited"), el("p", { class: "soft" }, "in what is written; exact"), table(["source", "spans of", "documents", "places"], edits, [true, true, false, false])));
  section("composition", "Composition", null, el("div", { class: "columns" }, cards));
}

function lengths() {
  if (!F.lengths) return null;
  const chart = { ...F.lengths.read, is_whole: true }, plot = bars(chart, () => false, [], null), written = F.lengths.written;
  if (Object.keys(written).length) {
    plot.querySelectorAll("rect").forEach((rect) => rect.setAttribute("class", "under"));
    const all = sum, length = Object.values(chart.bins)[0].length, width = 320 / length;
    const most = Math.sqrt(Math.max(...Array.from({ length }, (_, bin) => all(sampled.map((name) => chart.bins[name][bin] * weightOf(name)))), 1));
    for (let bin = 0; bin < length; bin++) {
      const height = all(Object.keys(written).map((name) => written[name][bin] * weightOf(name)));
      if (height) { const tall = (88 * Math.sqrt(height)) / most; plot.append(el("svg:rect", { x: bin * width + 0.5, y: 90 - tall, width: width - 1, height: tall })); }
    }
  }
  const rows = Object.entries(F.lengths.quantiles).map(([name, its]) => [name, ...its.map(count)]);
  return el("div", { class: "card" }, el("h3", null, "Length"), el("p", { class: "soft" }, Object.keys(written).length ? "characters per document: read (pale), written (blue)" : "characters per document"), plot, axis(chart),
    el("div", { style: { "margin-top": ".6rem" } }, table(["source", "5 %", "25 %", "median", "75 %", "95 %"], rows, [true, false, false, false, false, false])));
}

function table(columns, rows, isName) {
  return el("div", { class: "scroll" }, el("table", null, el("thead", null, el("tr", null, columns.map((column, i) => el("th", { class: isName[i] ? "name" : null }, safe(column))))),
    el("tbody", null, rows.map((row) => el("tr", null, row.map((cell, i) => el("td", { class: isName[i] ? "name" : null }, safe(String(cell)))))))));
}

// Documents --------------------------------------------------------------------------------------------------------

function documents() {
  if (!F.documents.length) return;
  const list = el("div", { id: "list" }), tags = new Map(), chosen = { output: "", reason: "", source: "" };
  const outputs = [...new Set(F.documents.map((its) => its.output))], causes = [...new Set(F.documents.flatMap((its) => its.reasons.map((reason) => reason.rule)))].sort();
  const draw = () => list.replaceChildren(...F.documents.filter((its) => (!chosen.output || its.output === chosen.output || (chosen.output === "dropped" && !its.output)) && (!chosen.reason || its.reasons.some((reason) => reason.rule === chosen.reason)) && (!chosen.source || its.source === chosen.source)).map((its) => documentCard(its, tags.get(its))));
  const tag = () => tags.forEach((node, its) => {
    const found = engine && isMix ? engine.passes(its.source, its.row) : { now: true, was: true };
    node.hidden = found.now === found.was;
    node.textContent = found.now ? "would pass now" : "would be dropped now";
  });
  F.documents.forEach((its) => tags.set(its, el("span", { class: "tag now", hidden: true })));
  const menu = (key, label, options) => options.length > 1 ? el("select", { "aria-label": label, onchange: (event) => { chosen[key] = event.target.value; draw(); } }, el("option", { value: "" }, label), options.map(([value, text]) => el("option", { value }, text))) : null;
  section("documents", "Documents", "Drawn from the sample" + (isMix ? ": some that are written, and some that each rule drops" : "") + ". Marked are the spans that taggers found, in red those of a rule that dropped the document; personal data is masked.",
    el("div", { class: "row", style: { "justify-content": "flex-start", "margin-bottom": "1rem" } }, menu("output", "kept and dropped", isMix ? outputs.map((output) => [output || "dropped", output || "dropped"]) : []), menu("reason", "any reason", causes.map((cause) => [cause, cause])), menu("source", "all sources", sampled.map((name) => [name, name]))), list);
  movers.push(tag);
  draw();
}

function documentCard(its, tag) {
  const sets = new Set(its.reasons.flatMap((reason) => { const rule = F.rules.find((rule) => rule.name === reason.rule); return rule ? [...rule.sql.matchAll(/([A-Za-z_]\w*)\./g)].map((found) => found[1]) : []; }));
  const kinds = [...new Set(its.parts.flatMap((part) => (part.masked ? [] : part.marks || [])))];
  return el("article", { class: "card doc", "data-output": its.output },
    el("header", null, isMix ? el("span", { class: "tag " + (its.output ? "good" : "bad") }, its.output || "dropped") : null, names.length > 1 ? el("span", { class: "tag" }, el("i", { style: { display: "inline-block", width: ".6rem", height: ".6rem", "border-radius": "3px", "margin-right": ".3rem", background: colour(its.source) } }), its.source) : null,
      el("bdi", null, safe(its.id)), el("small", null, `${its.place} · ${count(its.characters)} characters`), tag),
    kinds.length ? el("small", null, "marked: " + kinds.join(", ")) : null,
    its.reasons.length ? el("ul", null, its.reasons.map((reason) => el("li", null, el("b", null, safe(reason.rule)), reason.detail ? [" · ", el("span", { class: "soft" }, safe(reason.detail))] : null))) : null,
    el("div", { class: "text", dir: "auto", tabindex: 0 }, its.parts.map((part) => part.gap ? el("span", { class: "gap" }, el("span", null, `${count(part.gap)} characters left out`)) : part.masked ? el("span", { class: "masked", title: part.marks.join(", ") }, part.masked.split(".").pop())
      : part.marks.length ? el("mark", { title: part.marks.join(", "), class: part.marks.some((mark) => sets.has(mark.split(".")[0])) ? "offending" : null }, safe(part.text)) : safe(part.text))));
}

// The rest ---------------------------------------------------------------------------------------------------------

function curve(points) {
  const first = points[0][0], last = Math.max(points[points.length - 1][0], first + 1), losses = points.map((point) => point[1]), low = Math.min(...losses), high = Math.max(...losses);
  const line = points.map(([step, loss]) => `${((320 * (step - first)) / (last - first)).toFixed(1)},${(4 + (84 * (high - loss)) / Math.max(high - low, 1e-9)).toFixed(1)}`).join(" ");
  return [el("svg:svg", { class: "plot", viewBox: "0 0 320 92", preserveAspectRatio: "none", role: "img", "aria-label": "loss by step" }, el("svg:line", { class: "base", x1: 0, x2: 320, y1: 90, y2: 90 }), el("svg:polyline", { points: line })), el("div", { class: "axis" }, el("span", null, `step ${count(first)}: ${losses[0].toFixed(3)}`), el("span", null, `step ${count(last)}: ${losses[losses.length - 1].toFixed(3)}`))];
}

function figures() {
  if (!F.tables.length) return;
  section("figures", "Figures", "What the stages recorded, exactly.", F.tables.map((its) => el("div", { class: "card", style: { "margin-bottom": "1rem" } }, el("h3", null, safe(its.title)), its.note ? el("p", { class: "soft" }, safe(its.note)) : null,
    table(its.columns, its.rows, its.columns.map((_, i) => i === 0 || its.names[i])), its.curve.length > 1 ? curve(its.curve) : null)));
}

function configuration() {
  const parts = [];
  if (F.configuration) parts.push(el("p", { class: "soft" }, "All that shapes the mix besides its inputs, recipes written out; its fingerprint is ", el("code", null, F.definition), "."), el("pre", null, safe(F.configuration)));
  const places = Object.entries(F.where);
  if (places.length) parts.push(el("h3", null, "Where everything lies"), table(["what", "where"], places, [true, true]));
  if (F.following.length) parts.push(el("h3", { style: { "margin-top": "1.2rem" } }, "What to run next"), el("pre", null, safe(F.following.join("\n"))));
  parts.push(el("p", { class: "soft", style: { "margin-top": "1.2rem" } }, `Sampled: up to ${count(F.drawing.documents)} documents of each source, seed ${F.drawing.seed}. The same inputs give the same page, byte for byte.`));
  section("configuration", "Configuration", null, ...parts);
}

function theme() {
  const set = (dark) => { document.documentElement.dataset.theme = dark ? "dark" : "light"; };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  set(dark.matches);
  dark.addEventListener("change", () => set(dark.matches));
  document.getElementById("theme").addEventListener("click", () => set(document.documentElement.dataset.theme !== "dark"));
  let before = null;
  addEventListener("beforeprint", () => { before = document.documentElement.dataset.theme; set(false); document.querySelectorAll("details").forEach((its) => { its.open = true; }); });
  addEventListener("afterprint", () => set(before === "dark"));
}

theme();
overview();
funnel();
thresholds();
attributes();
composition();
documents();
figures();
configuration();
changed();
