"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { plans, requirements, quality, choice, words } = data;
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
      byId(`limit-${i}-meet`).textContent = `${meeting} of ${plans.length} plans meet it`;
      sliders[i].setAttribute("aria-valuetext", text);
    });
  }

  function sayChoice() {
    const best = verdicts[0];
    const other = moved();
    const fitting = verdicts.filter((verdict) => verdict.feasible).length;
    const choice = best.feasible ? `Run ${best.id}` : "Nothing fits";
    const sure = best.feasible ? words[best.certainty] : best.plan.can_run ? `Nearest: ${best.id}.` : "No plan can run.";
    const headline = byId("headline");
    headline.textContent = other ? `With these limits: ${choice}` : choice;
    headline.className = `verdict ${best.feasible ? "fits" : "violations"}`;
    byId("certainty").textContent = sure;
    byId("status").textContent = `With ${other ? "these" : "the scenario's"} limits: ${choice}. ${sure} ${fitting} of ${plans.length} plans fit.`;
    document.body.classList.toggle("moved", other);
    for (const button of document.querySelectorAll(".back")) button.hidden = !other;
  }

  /* The table: verdicts, order, filter. */

  function byHowMuch({ endless, margin }) {
    if (endless) return "grows without end";
    if (margin === -Infinity) return "not known";
    if (margin >= -1) return percent(margin, 1);
    return margin > -1000 ? `${Number((1 - margin).toPrecision(3))} times it` : "more than 1000 times it";
  }

  function verdictLines({ plan, feasible, certainty, violations, softMisses }) {
    const line = (miss, before, className) => (
      element("div", [`${before}${miss.requirement.text} `, element("span", `(${byHowMuch(miss)})`, "margin")], className)
    );
    const lines = plan.can_run
      ? violations.map((miss) => line(miss, ""))
      : words.cannot_run[plan.id].map((why) => element("div", why));
    if (feasible) lines.push(element("div", `fits, ${certainty}${plan.stable ? "" : ", but unstable"}`));
    return [...lines, ...softMisses.map((miss) => line(miss, "preferred: ", "preferred"))];
  }

  function fillTable() {
    const fill = {
      rank: (verdict, i) => [String(i + 1)],
      verdict: verdictLines,
      score: ({ score }) => [score >= -1 ? percent(score, 1) : "far off"],
      pareto: ({ pareto }) => [pareto ? "yes" : ""],
    };
    verdicts.forEach((verdict, i) => {
      const row = rows.get(verdict.id);
      row.className = i === 0 && verdict.feasible ? "chosen" : verdict.feasible ? "fits" : "violations";
      for (const [key, make] of Object.entries(fill)) {
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
      return !stable && sorting.key.startsWith("latency_") ? null : metrics[sorting.key] ?? null;
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
    const onlyFits = byId("fits-only").checked;
    let shown = 0;
    for (const { id, feasible } of verdicts) {
      const row = rows.get(id);
      const content = row.textContent.toLowerCase();
      row.hidden = (onlyFits && !feasible) || !wanted.every((word) => content.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    byId("shown").textContent = `${shown} of ${plans.length} plans shown`;
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

  /* Points move between the traces "fits" and "does not fit" of their configuration. */
  function drawVerdicts() {
    const plot = byId("figure-plans");
    if (!plot) return;
    plot.data.forEach((trace, i) => {
      if (!trace.meta) return;
      const { kind, fits, chosen } = trace.meta;
      const placed = verdicts.filter((verdict, place) => points.has(verdict.id) && (
        chosen ? place === 0 && verdict.feasible : points.get(verdict.id).kind === kind && verdict.feasible === fits
      ));
      const values = placed.map(({ id }) => points.get(id));
      const change = { x: [values.map(({ x }) => x)], y: [values.map(({ y }) => y)] };
      if (!chosen) {
        change["error_y.array"] = [values.map(({ above }) => above)];
        change["error_y.arrayminus"] = [values.map(({ below }) => below)];
        change.ids = [placed.map(({ id }) => id)];
        change.customdata = [values.map(({ words: first }, place) => [...first, fate(placed[place])])];
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
        words: trace.customdata[i].slice(0, 2),
      }));
    }
  }

  function fate(verdict) {
    const harmless = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
    if (!verdict.plan.can_run) return "cannot run";
    if (verdict.feasible) return `fits, ${verdict.certainty}`;
    return verdict.violations.map(({ requirement }) => `misses ${harmless(requirement.text)}`).join("<br>");
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
  byId("fits-only").addEventListener("change", filter);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", colour);
  narrow.addEventListener("change", () => { draw(); drawDecision(); });
  window.addEventListener("beforeprint", () => paper(true));
  window.addEventListener("afterprint", () => paper(false));
  decideAnew();
  gatherPoints();
  draw();
})();
