"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { plans, requirements, quality, choice, words, cannot_run: cannotRun } = data;
  const sliders = requirements.map((_, i) => document.getElementById(`limit-${i}`));
  const head = document.querySelector("#plans thead");
  const body = document.querySelector("#plans tbody");
  const rows = new Map([...body.rows].map((row, i) => [plans[i].id, row]));
  const columns = [...head.rows[0].cells].map((cell) => cell.dataset.key);
  const sorting = { key: "rank", sign: 1 };
  const narrow = window.matchMedia("(max-width: 40rem)");
  const points = new Map(); // where each stable plan stands in the figure of all plans
  let verdicts = [];
  let drawing = false; // figures follow once a frame, however quickly a slider moves

  const plots = () => document.querySelectorAll(".js-plotly-plot");
  const byId = (id) => document.getElementById(id);
  const percent = (share, digits) => `${share < 0 ? "-" : "+"}${Math.abs(100 * share).toFixed(digits)} %`;
  const moved = () => sliders.some((slider, i) => Number(slider.value) !== requirements[i].own);
  const fill = (name, blanks = {}) => words[name].replace(/\{(\w+)\}/g, (_, blank) => blanks[blank]);
  const limits = () => requirements.map(({ metric, upper, weight, stops }, i) => {
    const limit = stops[sliders[i].value];
    return { metric, upper, weight, limit, text: requirements[i].texts[sliders[i].value] };
  });

  function element(name, content, className = "") {
    const made = document.createElement(name);
    if (className) made.className = className;
    made.append(...[content].flat());
    return made;
  }

  /* The decision, with the limits that the sliders show. */

  function decideAnew() {
    const wanted = limits();
    verdicts = decide(plans, wanted, quality, choice);
    sayLimits(wanted);
    sayChoice();
    fillTable();
    order();
    if (!drawing) requestAnimationFrame(drawDecision);
    drawing = true;
  }

  function drawDecision() {
    drawing = false;
    drawVerdicts();
    drawLimits(limits());
  }

  function sayLimits(wanted) {
    wanted.forEach(({ metric, text }, i) => {
      const meeting = verdicts.filter((verdict) => verdict.judgements[i].met).length;
      byId(`limit-${i}-text`).textContent = text.startsWith(metric) ? text.slice(metric.length) : text;
      const unknown = verdicts.filter((verdict) => notComputed(verdict.judgements[i])).length;
      const blanks = { count: meeting, total: plans.length, unknown };
      byId(`limit-${i}-meet`).textContent = fill(unknown ? "meet_known" : "meet", blanks);
      sliders[i].setAttribute("aria-valuetext", text);
    });
  }

  function sayChoice() {
    const best = verdicts[0];
    const other = moved();
    const choice = best.feasible ? best.plan.words : words.unsatisfiable;
    const certainty = best.feasible
      ? words[best.certainty]
      : best.plan.can_run ? fill("nearest", { plan: best.plan.words, id: best.id }) : words.none_can_run;
    const count = fill("count", { count: verdicts.filter(({ feasible }) => feasible).length, total: plans.length });
    byId("headline").className = `verdict ${best.feasible ? "feasible" : "violates"}`;
    byId("choice").textContent = other ? fill("moved", { choice }) : choice;
    byId("choice-id").textContent = best.feasible ? best.id : "";
    byId("certainty").textContent = certainty;
    const said = [fill(other ? "status_moved" : "status", { choice, certainty, count })];
    if (best.feasible && best.plan.metrics[quality.metric] === null) {
      said.push(fill("choice_not_computed", { quality: quality.title }));
    }
    const others = verdicts.filter(mayBeFeasible).length;
    if (others) said.push(fill("others_not_computed", { count: others, quality: quality.title }));
    byId("status").textContent = said.join(" ");
    document.body.classList.toggle("moved", other);
    for (const button of document.querySelectorAll(".back")) button.hidden = !other;
  }

  /* The table: verdicts, order, filter. */

  const predicted = new Set([quality.metric, `on_time_${quality.metric}`]);

  function notComputed({ requirement, margin, unbounded }) {
    return predicted.has(requirement.metric) && margin === -Infinity && !unbounded;
  }

  const mayBeFeasible = ({ plan, feasible, violations }) => plan.can_run && !feasible && violations.every(notComputed);

  function marginWords(margin, unbounded) {
    if (unbounded) return words.unbounded;
    if (margin === -Infinity) return words.not_known;
    if (margin >= -1) return percent(margin, 1);
    return margin > -1000 ? fill("times", { factor: Number((1 - margin).toPrecision(3)) }) : words.far;
  }

  const verdictWords = ({ plan, certainty }) => fill(plan.stable ? "feasible" : "but_unstable", { certainty });

  function verdictLines(verdict) {
    const { plan, feasible, violations, softViolations } = verdict;
    const line = (how, judgement) => {
      const { requirement: { text: requirement }, margin, unbounded } = judgement;
      const unknown = notComputed(judgement);
      if (unknown && how === "violates") {
        return element("div", element("span", fill("requirement_not_computed", { requirement }), "margin"));
      }
      const note = unknown ? words.not_computed : marginWords(margin, unbounded);
      const said = [`${fill(how, { requirement })} `, element("span", `(${note})`, "margin")];
      return element("div", said, how === "preferred" ? how : "");
    };
    let lines = violations.map((violation) => line("violates", violation));
    if (!plan.can_run) lines = cannotRun[plan.id].map((why) => element("div", why));
    if (feasible) lines = [element("div", verdictWords(verdict))];
    return [...lines, ...softViolations.map((violation) => line("preferred", violation))];
  }

  function fillTable() {
    const cells = {
      rank: (verdict, i) => [String(i + 1)],
      verdict: verdictLines,
      score: ({ score }) => [score >= -1 ? marginWords(score) : words.far_off],
      pareto: ({ pareto }) => [pareto ? words.on_front : ""],
    };
    verdicts.forEach((verdict, i) => {
      const row = rows.get(verdict.id);
      row.className = i === 0 && verdict.feasible ? "chosen" : verdict.feasible ? "feasible" : "violates";
      for (const [key, make] of Object.entries(cells)) {
        row.cells[columns.indexOf(key)].replaceChildren(...make(verdict, i));
      }
    });
  }

  function order() {
    const rank = new Map(verdicts.map(({ id }, i) => [id, i]));
    const of = new Map(verdicts.map((verdict) => [verdict.id, verdict]));
    const value = ({ id, stable, metrics }) => {
      if (sorting.key === "rank" || sorting.key === "verdict") return rank.get(id);
      if (sorting.key === "id") return id;
      if (sorting.key === "busiest") return rows.get(id).cells[columns.indexOf("busiest")].textContent;
      if (sorting.key === "score") return of.get(id).score;
      if (sorting.key === "pareto") return of.get(id).pareto ? 0 : 1;
      return !stable && /^(latency_|ttft)/.test(sorting.key) ? null : metrics[sorting.key] ?? null;
    };
    const sorted = [...plans].sort((a, b) => {
      const [first, second] = [value(a), value(b)];
      if (first === second) return rank.get(a.id) - rank.get(b.id);
      if (first === null || second === null) return first === null ? 1 : -1; // what is not known goes last
      return (first < second ? -1 : 1) * sorting.sign;
    });
    body.append(...sorted.map(({ id }) => rows.get(id)));
    for (const cell of head.rows[0].cells) {
      if (cell.dataset.key !== sorting.key) cell.removeAttribute("aria-sort");
      else cell.setAttribute("aria-sort", sorting.sign > 0 ? "ascending" : "descending");
    }
    filter();
  }

  function filter() {
    const wanted = byId("filter").value.toLowerCase().split(/\s+/);
    const onlyFeasible = byId("feasible-only").checked;
    let shown = 0;
    for (const { id, feasible } of verdicts) {
      const row = rows.get(id);
      const content = row.textContent.toLowerCase();
      row.hidden = (onlyFeasible && !feasible) || !wanted.every((word) => content.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    byId("shown").textContent = fill("shown", { count: shown, total: plans.length });
  }

  function sortBy(key) {
    const falling = head.querySelector(`[data-key="${key}"]`).dataset.better === "higher";
    sorting.sign = sorting.key === key ? -sorting.sign : falling ? -1 : 1;
    sorting.key = key;
    order();
  }

  /* The figures. */

  const ink = () => getComputedStyle(document.body).color;

  function draw() {
    for (const [name, { data: traces, layout }] of Object.entries(data.figures)) {
      const plot = byId(`figure-${name}`);
      const fitted = { ...layout, font: { ...layout.font, color: ink() } };
      let shown = traces;
      if (narrow.matches) {
        fitted.margin = { ...layout.margin, l: 45, r: 15 };
        if (layout.legend.orientation === "v") {
          fitted.legend = { orientation: "h", y: -0.25, yanchor: "top" };
          // there is no room for all names
          shown = traces.map((trace) => (trace.visible === "legendonly" ? { ...trace, showlegend: false } : trace));
        }
      }
      Plotly.react(plot, shown, fitted, { responsive: true, displayModeBar: false });
    }
  }

  /* Points move between the traces "feasible" and "infeasible" of their configuration. */
  function drawVerdicts() {
    const plot = byId("figure-plans");
    if (!plot) return;
    plot.data.forEach((trace, i) => {
      if (!trace.meta) return;
      const { kind, feasible, chosen } = trace.meta;
      const placed = verdicts.filter((verdict, place) => points.has(verdict.id) && (
        chosen ? place === 0 && verdict.feasible : points.get(verdict.id).kind === kind && verdict.feasible === feasible
      ));
      const values = placed.map(({ id }) => points.get(id));
      const change = { x: [values.map(({ x }) => x)], y: [values.map(({ y }) => y)] };
      if (!chosen) {
        change["error_y.array"] = [values.map(({ above }) => above)];
        change["error_y.arrayminus"] = [values.map(({ below }) => below)];
        change.ids = [placed.map(({ id }) => id)];
        change.customdata = [values.map(({ said }, place) => [...said, fate(placed[place])])];
        change.showlegend = values.length > 0;
      }
      Plotly.restyle(plot, change, [i]);
    });
  }

  function gatherPoints() {
    for (const trace of data.figures.plans?.data ?? []) {
      if (!trace.ids) continue;
      trace.ids.forEach((id, i) => points.set(id, {
        kind: trace.meta.kind,
        x: trace.x[i],
        y: trace.y[i],
        above: trace.error_y.array[i],
        below: trace.error_y.arrayminus[i],
        said: trace.customdata[i].slice(0, 2),
      }));
    }
  }

  function fate(verdict) {
    const harmless = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
    let lines = verdict.violations.map((judgement) => fill(
      notComputed(judgement) ? "requirement_not_computed" : "violates",
      { requirement: judgement.requirement.text },
    ));
    if (!verdict.plan.can_run) lines = cannotRun[verdict.id];
    if (verdict.feasible) lines = [verdictWords(verdict)];
    return lines.map(harmless).join("<br>");
  }

  function drawLimits(wanted) {
    for (const plot of plots()) {
      const change = {};
      for (const [list, entries] of [["shapes", plot.layout.shapes], ["annotations", plot.layout.annotations]]) {
        (entries ?? []).forEach(({ name, xref, text }, i) => {
          const found = /^limit-(\d+)$/.exec(name ?? "");
          if (!found) return;
          const requirement = wanted[found[1]];
          const axis = xref === "paper" || xref === "x domain" ? "y" : "x";
          if (list === "shapes") {
            change[`shapes[${i}].${axis}0`] = change[`shapes[${i}].${axis}1`] = requirement.limit;
          } else {
            const logarithmic = plot.layout[`${axis}axis`].type === "log";
            change[`annotations[${i}].${axis}`] = logarithmic ? Math.log10(requirement.limit) : requirement.limit;
            if (text) change[`annotations[${i}].text`] = requirement.text.replace(/</g, "&lt;").replace(/>/g, "&gt;");
          }
        });
      }
      if (Object.keys(change).length) Plotly.relayout(plot, change);
    }
  }

  function colour() {
    for (const plot of plots()) Plotly.relayout(plot, { "font.color": ink() });
  }

  /* On paper: dark on light, as wide as a page, two to a page. */
  function paper(printing) {
    for (const plot of plots()) {
      const { height } = data.figures[plot.id.replace("figure-", "")].layout;
      const size = printing ? { width: 680, height: Math.min(height, 360) } : { width: null, height, autosize: true };
      Plotly.relayout(plot, { "font.color": printing ? "#222" : ink(), ...size });
    }
  }

  document.getElementById("limits").addEventListener("input", decideAnew);
  for (const button of document.querySelectorAll(".back")) {
    button.addEventListener("click", () => {
      sliders.forEach((slider, i) => { slider.value = requirements[i].own; });
      decideAnew();
      sliders[0].focus();
    });
  }
  for (const button of head.querySelectorAll("button")) {
    button.addEventListener("click", () => sortBy(button.parentElement.dataset.key));
  }
  byId("filter").addEventListener("input", filter);
  byId("feasible-only").addEventListener("change", filter);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", colour);
  narrow.addEventListener("change", () => { draw(); drawDecision(); });
  window.addEventListener("beforeprint", () => paper(true));
  window.addEventListener("afterprint", () => paper(false));
  decideAnew();
  gatherPoints();
  draw();
})();
