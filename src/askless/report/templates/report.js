(() => {
  "use strict";
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("report-data").textContent);
  const svg = byId("curve"), chart = byId("chart"), tip = byId("tip"), NS = svg.namespaceURI;
  const DASHES = ["", "7 3", "2 3", "10 3 2 3", "5 2", "1 2"];

  const percent = (v) => (100 * v).toFixed(1), graded = (v) => percent(v) + data.sign;
  function cost(v) {
    const text = v >= 100 ? Math.round(v).toLocaleString("en-US") : v >= 1 ? v.toFixed(2)
      : v >= 1e-4 ? v.toPrecision(3) : v > 0 ? "<0.0001" : "0";
    if (data.unit === "usd") return text[0] === "<" ? "<$" + text.slice(1) : "$" + text;
    return text + " " + (data.unit === "seconds" ? "s" : data.unit);
  }
  function make(name, attributes, parent, text) {
    const node = document.createElementNS(name in HTML ? byId("legend").namespaceURI : NS, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    parent.append(node);
    return node;
  }
  const HTML = { button: 1, span: 1, b: 1, option: 1 };

  /* Amounts of a month and their difference, all in the digits that the larger asks for: `monthly` of wording.py. */
  function month(perThousand, alone, items) {
    const [own, reference] = [perThousand, alone].map((v) => v * items / 1000);
    const most = Math.max(own, reference);
    const digits = most >= 1000 ? 0 : most >= 1 || !most ? 2 : Math.min(12, 2 - Math.floor(Math.log10(most)));
    const saved = reference.toFixed(digits) - own.toFixed(digits), least = 10 ** -digits;
    function text(v) {
      const sign = v <= -least / 2 ? "−" : v > 0 && v < least / 2 ? "<" : "";
      const number = Math.max(Math.abs(v), sign === "<" ? least : 0).toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
      return data.unit === "usd" ? sign + "$" + number : `${sign}${number} ${data.unit === "seconds" ? "s" : data.unit}`;
    }
    return { own: text(own), reference: text(reference), saved: text(saved), less: saved };
  }

  /* Colours follow the policy, not its place in the legend. */
  let lines = 0;
  for (const one of data.series) {
    one.colour = one.line && one.role !== "bound" ? "var(--c" + (lines % 6) + ")" : "var(--grey)";
    one.dash = one.role === "bound" ? "6 4" : one.line ? DASHES[Math.floor(lines / 6) % 6] : "";
    if (one.line && one.role !== "bound") lines += 1;
  }
  const of = (role) => data.series.find((s) => s.role === role);
  const small = of("small"), reference = of("reference"), main = of("headline");

  /* ---- the curve ---- */
  let places = [], at = null;
  const mark = { label: data.headline + ", operating point", line: false, colour: "var(--ink)", points: [{
    cost: data.point.cost.value, quality: data.point.quality.value, low: data.point.quality.ci[0], high: data.point.quality.ci[1], rate: data.point.rate }] };

  function ticks(low, high, count) {
    const raw = (high - low) / Math.max(1, count), base = 10 ** Math.floor(Math.log10(raw));
    const step = base * [1, 2, 2.5, 5, 10].find((m) => m * base >= raw * 0.999);
    const out = [];
    for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-6; v += step) out.push(v || 0);
    return { at: out, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9) + (step / base === 2.5 ? 1 : 0)) };
  }

  /* The bound and the weak baselines do not set the scale: what leaves it is drawn at its edge. */
  function domain(shown) {
    const scale = shown.filter((s) => s.role !== "bound" && (s.line || s === small || s === reference)).flatMap((s) => s.points);
    const all = scale.length ? scale : shown.flatMap((s) => s.points);
    const band = main && main.shown ? main.points.flatMap((p) => p.low === null ? [] : [p.low, p.high]) : [];
    const values = [...all.map((p) => p.quality), ...band, data.point.quality.value];
    let low = Math.min(...values), high = Math.max(...values);
    const range = Math.max(0.02, high - low), most = Math.max(...shown.flatMap((s) => s.points.map((p) => p.quality)));
    if (most > high) high = Math.min(most, high + 0.35 * range);
    low = Math.max(0, low - (shown.some((s) => s.points.some((p) => p.quality < low)) ? 0.14 : 0.06) * range);
    high = Math.min(1, high + 0.06 * range);
    const right = Math.max(1e-12, data.point.cost.value, ...shown.flatMap((s) => s.points.map((p) => p.cost))) * 1.05;
    return { low, high, right };
  }

  function draw() {
    const width = chart.clientWidth, height = Math.max(300, Math.min(520, width * 0.68));
    const shown = data.series.filter((s) => s.shown), { low, high, right } = domain(shown);
    const box = { left: 42, right: width - 10, top: 24, bottom: height - 42 };
    const x = (v) => box.left + 8 + (box.right - box.left - 8) * v / right;
    const y = (v) => box.bottom - (box.bottom - box.top) * (v - low) / (high - low);
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.style.height = height + "px";
    axes(box, x, y, low, high, right);
    places = [];
    const labels = [], clip = make("clipPath", { id: "inside" }, svg);
    make("rect", { x: 0, y: box.top, width, height: box.bottom - box.top }, clip);
    if (main && main.shown && main.points.every((p) => p.low !== null)) {
      const up = main.points.map((p) => [x(p.cost), y(p.high)]), down = main.points.map((p) => [x(p.cost), y(p.low)]);
      make("path", { class: "band", d: "M" + [...up, ...down.reverse()].map((p) => p.join(" ")).join("L") + "Z", fill: main.colour }, svg);
    }
    if (small && reference) {
      const [a, b] = [small.points[0], reference.points[0]];
      make("line", { x1: x(a.cost), y1: y(a.quality), x2: x(b.cost), y2: y(b.quality), stroke: "var(--grey)", "stroke-dasharray": "1 4", "stroke-linecap": "round", "stroke-width": 2 }, svg);
    }
    for (const one of shown.filter((s) => s.line).reverse()) {
      const flat = one.role === "bound" ? "H" + box.right : "";
      const d = "M" + one.points.map((p) => x(p.cost) + " " + y(p.quality)).join("L") + flat;
      make("path", { class: "curve" + (one === main ? " main" : ""), d, stroke: one.colour, "stroke-dasharray": one.dash, "clip-path": "url(#inside)", "data-policy": one.name }, svg);
      const out = one.points.find((p) => p.quality > high);
      if (out) labels.push({ text: `${one.label} ↑ up to ${percent(Math.max(...one.points.map((p) => p.quality)))}`, x: Math.min(x(out.cost), box.right - 150), y: box.top + 8 });
    }
    for (const one of shown) {
      for (const point of one.points) {
        const below = point.quality < low;
        const place = { series: one, point, x: x(point.cost), y: below ? box.bottom - 7 : Math.max(box.top, y(point.quality)) };
        places.push(place);
        if (one.line) continue;
        if (below) make("path", { class: "dot", d: `M${place.x - 6} ${place.y - 4}h12l-6 10z`, fill: one.colour, "data-policy": one.name }, svg);
        else make("circle", { class: "dot", cx: place.x, cy: place.y, r: one.role === "other" ? 5 : 6.5, fill: one.role === "other" ? one.colour : "var(--ink)", "data-policy": one.name }, svg);
        const text = below ? one.label + " " + percent(point.quality) + " ↓" : one.label;
        labels.push({ text, x: place.x, y: place.y, first: one.role !== "other" });
      }
    }
    promised(x, y, low, high);
    name(labels, box);
    if (at) focus(places.find((p) => p.series === at.series && p.point === at.point) || null);
  }

  function axes(box, x, y, low, high, right) {
    const ys = ticks(100 * low, 100 * high, (box.bottom - box.top) / 48);
    for (const v of ys.at) {
      make("line", { class: "grid", x1: box.left, x2: box.right, y1: y(v / 100), y2: y(v / 100) }, svg);
      make("text", { x: box.left - 6, y: y(v / 100) + 4, "text-anchor": "end" }, svg, v.toFixed(ys.digits));
    }
    const xs = ticks(0, right, (box.right - box.left) / 90), sign = data.unit === "usd" ? "$" : "";
    for (const v of xs.at) {
      const text = xs.digits > 4 ? v.toPrecision(2) : v.toLocaleString("en-US", { minimumFractionDigits: xs.digits, maximumFractionDigits: xs.digits });
      make("line", { class: "grid", x1: x(v), x2: x(v), y1: box.bottom, y2: box.bottom + 4 }, svg);
      const last = x(v) > box.right - 20;
      make("text", { x: last ? box.right + 8 : x(v), y: box.bottom + 18, "text-anchor": last ? "end" : "middle" }, svg, sign + text);
    }
    make("line", { x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom, stroke: "var(--grey)" }, svg);
    make("text", { x: 0, y: 12 }, svg, data.quality + (data.sign && ", %"));
    make("text", { x: box.right, y: box.bottom + 36, "text-anchor": "end" }, svg, data.unitWords);
  }

  function promised(x, y, low, high) {
    const { cost: c, quality: q } = data.point, cx = x(c.value), cy = y(q.value);
    const keep = (v) => Math.max(low, Math.min(high, v));
    const whisker = { stroke: "var(--ink)", "stroke-width": 1.5 };
    if (c.ci[0] !== null) make("line", { ...whisker, x1: x(c.ci[0]), x2: x(c.ci[1]), y1: cy, y2: cy }, svg);
    if (q.ci[0] !== null) make("line", { ...whisker, x1: cx, x2: cx, y1: y(keep(q.ci[0])), y2: y(keep(q.ci[1])) }, svg);
    make("path", { class: "dot", d: `M${cx} ${cy - 8}l8 8l-8 8l-8 -8z`, fill: "var(--ink)" }, svg);
    places.push({ series: mark, point: mark.points[0], x: cx, y: cy });
  }

  /* A name goes where it covers the least, and is left out where it would lie on another: the tooltip has it. */
  function name(labels, box) {
    const taken = [], inside = (p, a, b, w) => p.x > a - 3 && p.x < a + w + 3 && p.y > b - 13 && p.y < b + 5;
    labels.sort((a, b) => b.first - a.first);
    for (const { text, x, y, first } of labels) {
      const node = make("text", { class: first ? "name main" : "name" }, svg, text), w = node.getComputedTextLength();
      const spots = [[x + 10, y + 15], [x - w - 9, y - 9], [x + 10, y - 8], [x - w - 9, y + 17], [x - w / 2, y + 22], [x - w + 8, y + 22], [x + 11, y + 4], [x - w / 2, y - 12], [x - w + 8, y + 34]]
        .filter(([a, b]) => a > box.left && a + w < box.right + 8 && b - 11 > box.top - 14 && b < box.bottom - 1
          && !taken.some((t) => a < t[2] + 4 && a + w > t[0] - 4 && b - 11 < t[3] && b + 3 > t[1]))
        .map(([a, b]) => [a, b, places.filter((p) => inside(p, a, b, w)).reduce((sum, p) => sum + (p.series === mark ? 9 : 1), 0)]);
      if (!spots.length) { node.remove(); continue; }
      const spot = spots.reduce((best, s) => (s[2] < best[2] ? s : best));
      node.setAttribute("x", spot[0]); node.setAttribute("y", spot[1]);
      taken.push([spot[0], spot[1] - 11, spot[0] + w, spot[1] + 3]);
    }
  }

  function focus(place) {
    svg.querySelectorAll(".hit").forEach((node) => node.remove());
    at = place;
    tip.hidden = !place;
    if (!place) return;
    const { series, point } = place;
    make("circle", { class: "hit", cx: place.x, cy: place.y, r: 6, fill: series.colour }, svg);
    tip.replaceChildren();
    make("b", {}, tip, series.label);
    make("span", {}, tip, `${data.quality} ${graded(point.quality)}`);
    if (point.low !== null) make("span", {}, tip, `${data.level} % interval ${percent(point.low)} … ${percent(point.high)}`);
    make("span", {}, tip, `${cost(point.cost)} per 1,000 items`);
    if (!series.alone) make("span", {}, tip, `${percent(point.rate)} % deferred`);
    const left = Math.max(0, Math.min(chart.clientWidth - tip.offsetWidth, place.x - tip.offsetWidth / 2));
    const above = place.y - tip.offsetHeight - 14;
    tip.style.transform = `translate(${left}px, ${above >= -20 ? above : place.y + 14}px)`;
  }

  function nearest(event) {
    const frame = svg.getBoundingClientRect(), px = event.clientX - frame.left, py = event.clientY - frame.top;
    const far = (p) => (p.x - px) ** 2 + (p.y - py) ** 2;
    return places.reduce((best, p) => (best === null || far(p) < far(best) ? p : best), null);
  }
  svg.addEventListener("pointermove", (event) => focus(nearest(event)));
  svg.addEventListener("pointerdown", (event) => focus(nearest(event)));
  svg.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") focus(null); });
  svg.addEventListener("blur", () => focus(null));
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key], turn = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") return focus(null);
    if ((!step && !turn) || !places.length) return;
    event.preventDefault();
    const groups = [...new Set(places.map((p) => p.series))];
    const now = at || places[0];
    let group = groups.indexOf(now.series);
    if (turn && at) group = (group + turn + groups.length) % groups.length;
    const own = places.filter((p) => p.series === groups[group]);
    const close = own.reduce((best, p) => (Math.abs(p.x - now.x) < Math.abs(best.x - now.x) ? p : best), own[0]);
    const index = turn || !at ? own.indexOf(close) : own.indexOf(now) + step;
    focus(own[Math.max(0, Math.min(own.length - 1, index))]);
  });

  /* ---- the legend: a button for each curve, and one for all single points ---- */
  function legend(text, series, swatch) {
    const shown = () => series.some((s) => s.shown);
    const button = make("button", { type: "button", "aria-pressed": String(shown()), "data-policy": series.map((s) => s.name).join(" ") }, byId("legend"));
    const picture = make("svg", { viewBox: "0 0 22 10", "aria-hidden": "true" }, button);
    make(...swatch, picture);
    make("span", {}, button, text);
    button.hidden = !shown();
    button.addEventListener("click", () => {
      const to = !shown();
      for (const one of series) one.shown = to;
      button.setAttribute("aria-pressed", String(to));
      if (at && series.includes(at.series)) focus(null);
      draw();
    });
  }
  for (const one of data.series.filter((s) => s.line)) {
    legend(one.label, [one], ["line", { x1: 0, x2: 22, y1: 5, y2: 5, stroke: one.colour, "stroke-width": one === main ? 4 : 2.5, "stroke-dasharray": one.dash }]);
  }
  const single = data.series.filter((s) => !s.line);
  if (single.length) legend("each expert alone", single, ["circle", { cx: 11, cy: 5, r: 4.5, fill: "var(--ink)" }]);

  /* A button that shows what is hidden at first, and goes. */
  function reveal(button, hidden, text) {
    button.hidden = !hidden.length;
    if (text) button.textContent = text;
    button.addEventListener("click", () => { for (const each of hidden) each.hidden = false; button.hidden = true; });
  }
  const rest = [...byId("legend").querySelectorAll("[hidden]")];
  reveal(make("button", { type: "button", id: "more-curves" }, byId("legend")), rest, `${rest.length} more`);
  const rows = [...document.querySelectorAll("tr.more")];
  for (const row of rows) row.hidden = true;
  reveal(byId("more-rows"), rows);

  /* ---- the calculator ---- */
  const choices = data.series.filter((s) => s.line && s.role !== "bound");
  const select = byId("policy"), volume = byId("volume"), wanted = byId("wanted"), slider = byId("wanted-range");
  const items = () => (volume.value === "" ? NaN : Number(volume.value));
  const down = (v) => Math.floor(1000 * v + 1e-6) / 10, up = (v) => Math.ceil(1000 * v - 1e-6) / 10;
  const alone = reference ? reference.points[0] : { cost: NaN, quality: NaN };

  function bounds() {
    const best = Math.max(alone.quality, ...choices.flatMap((s) => s.points.map((p) => p.quality)));
    const least = Math.min(small ? small.points[0].quality : best, alone.quality);
    for (const input of [wanted, slider]) Object.assign(input, { step: 0.1, min: down(least), max: up(best), value: down(alone.quality) });
  }
  const cheapest = (points, quality) => points.filter((p) => p.quality >= quality - 1e-9).reduce((best, p) => (!best || p.cost < best.cost ? p : best), null);

  function say(id, text, how, off) {
    byId(id).textContent = text;
    byId(id).classList.toggle("off", Boolean(off));
    byId(id === "saved" ? "saved-how" : id.replace("bill", "how")).textContent = how;
  }

  function bill() {
    if (!(items() >= 0)) return;
    const words = month(data.point.cost.value, data.referenceCost, items());
    for (const name of ["own", "reference", "saved"]) byId(name + "-month").textContent = words[name];
    for (const cell of document.querySelectorAll(".month")) cell.textContent = month(Number(cell.value), data.referenceCost, items()).own;
  }

  function calculate() {
    const series = choices[select.selectedIndex], quality = Number(wanted.value) / 100;
    if (!series || !(items() >= 0) || !(quality >= 0) || wanted.value === "") {
      for (const id of ["team-bill", "llm-bill", "saved"]) say(id, "–", id === "saved" ? "Enter items per month and a quality." : "");
      return;
    }
    const point = cheapest(series.points, quality), llm = alone.quality >= quality - 1e-9;
    const top = Math.max(...series.points.map((p) => p.quality)), words = month(point ? point.cost : 0, alone.cost, items());
    byId("team-name").textContent = series.label;
    say("team-bill", point ? words.own : "not reached", point ? `${percent(point.rate)}\u00a0% of items deferred, ${data.quality} ${graded(point.quality)}` : `No point of its curve reaches this; its best is ${graded(top)}.`, !point);
    say("llm-bill", llm ? words.reference : "not reached", llm ? `${data.quality} ${graded(alone.quality)}` : `Its ${data.quality} is ${graded(alone.quality)}, for ${words.reference}.`, !llm);
    if (!point) return say("saved", "–", llm ? "Only the LLM alone reaches this quality." : "Neither reaches this quality.", true);
    if (!llm) return say("saved", "–", "The LLM alone does not reach this quality at any price.", false);
    const share = alone.cost > 0 ? 100 * (1 - point.cost / alone.cost) : 0;
    say("saved", words.saved, items() > 0 ? `${Math.abs(share).toFixed(1)} % ${share >= 0 ? "less" : "more"} than the LLM alone` : "", words.less < 0);
  }

  for (const one of choices) make("option", { value: one.name }, select, one.label);
  bounds();
  wanted.addEventListener("input", () => { slider.value = wanted.value; calculate(); });
  slider.addEventListener("input", () => { wanted.value = slider.value; calculate(); });
  volume.addEventListener("input", () => { bill(); calculate(); });
  select.addEventListener("input", calculate);
  for (const form of document.querySelectorAll("form")) form.addEventListener("submit", (event) => event.preventDefault());

  /* ---- one budget, or one table of budgets, at a time ---- */
  for (const box of document.querySelectorAll(".switch")) {
    const panels = [...box.parentElement.querySelectorAll(".panel")];
    const buttons = panels.map((panel) => make("button", { type: "button" }, box, panel.dataset.words));
    const turnTo = (index) => {
      panels.forEach((panel, i) => { panel.hidden = i !== index; });
      buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === index)));
    };
    buttons.forEach((button, i) => button.addEventListener("click", () => turnTo(i)));
    box.hidden = false;
    turnTo(0);
  }

  /* ---- parts that are folded open where a link leads to them, and on paper ---- */
  function unfold() {
    const part = location.hash && document.querySelector(location.hash + " > .fold");
    if (part) part.open = true;
  }
  addEventListener("hashchange", unfold);
  document.querySelector("nav").addEventListener("click", () => setTimeout(unfold));
  addEventListener("beforeprint", () => {
    for (const each of document.querySelectorAll("details")) each.open = true;
    for (const row of rows) row.hidden = false;
  });

  byId("calculator-part").firstElementChild.open = matchMedia("(min-width: 60rem)").matches;
  unfold();
  calculate();
  draw();
  let pending = 0;
  addEventListener("resize", () => { cancelAnimationFrame(pending); pending = requestAnimationFrame(draw); });
})();
