"use strict";
(() => {
  const { marks, windows, axes, plans, band, kinds, outages, moves, charts } = given;
  const whole = { from: given.from, to: Math.max(given.to, given.from + 1e-6) };
  const shortest = Math.max((whole.to - whole.from) / 5000, 0.05);
  const view = { ...whole };
  const GAP = 34; // between charts, for their names
  const home = byId("charts");
  let now = marks.at[0];
  let drawn = null; // what is on the screen: its axis of time, its cursor, its width

  /* Words. */

  function si(value, unit) {
    const step = [[1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"], [1e-6, "u"]].find(([factor]) => Math.abs(value) >= factor);
    const [factor, prefix] = value === 0 ? [1, ""] : step ?? [1e-6, "u"];
    return `${Number((value / factor).toPrecision(3))} ${prefix}${unit}`;
  }
  const percent = (share) => `${Number((100 * share).toPrecision(3))} %`;
  const writers = { goodput: (value) => si(value, "bit/s"), trip: (value) => si(value, "s"), loss: percent, latency: (value) => si(value, "s") };

  function clock(time, digits = 2) {
    const rest = Number((time % 60).toFixed(digits));
    if (Math.abs(time) < 60 || !(Math.abs(time) < 1e6)) return `${Number(time.toFixed(digits))} s`;
    const seconds = rest < 10 ? `0${rest}` : rest;
    const minutes = Math.floor(time / 60);
    if (minutes < 60) return `${minutes}:${seconds} min`;
    return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${seconds} h`;
  }

  const within = (spans, time) => spans.find(([from, to]) => from <= time && time < to);

  function nearest(at, time) {
    let [low, high] = [0, at.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (at[middle] <= time + 1e-9) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  function known(key, name, i) {
    const series = marks[key];
    if (!series || series.mid[i] === null) return [];
    const write = writers[key];
    const ends = series.low && series.low[i] !== series.high[i] ? ` (${write(series.low[i])} to ${write(series.high[i])})` : "";
    return [`${name} ${write(series.mid[i])}${ends}`];
  }

  function tell(i) {
    const time = marks.at[i];
    const plan = within(band, time)?.[2] ?? -1;
    const w = Math.min(windows.at.findIndex((at) => at > time) >>> 0, windows.at.length - 1);
    const answered = kinds.filter(({ place }) => windows.kinds[place][w]).map(({ place, words }) => `${percent(windows.kinds[place][w])} ${words}`);
    const missed = marks.width === null ? (marks.missed[i] ? ["no answer in time"] : []) : [`${marks.missed[i]} of ${marks.frames[i]} frames not in time`];
    const here = moves.map((at, move) => [at, move]).filter(([at]) => at >= time && at < (marks.at[i + 1] ?? Infinity));
    const parts = [
      plan < 0 ? given.none : `plan ${plans[plan].id}`,
      ...(within(outages, time) ? ["outage of the link"] : []),
      ...known("goodput", "goodput", i), ...known("trip", "round trip", i), ...known("loss", "loss", i),
      ...known("latency", "latency", i), ...missed,
    ];
    const quality = windows.quality?.[w] ?? null;
    const around = [...answered, ...(quality === null ? [] : [`${charts.at(-1).name.split(",")[0]} ${axes.quality.high <= 1 ? percent(quality) : Number(quality.toPrecision(3))}`])];
    byId("said").replaceChildren(
      element("strong", {}, clock(time)), `: ${parts.join(", ")}. `,
      `Over ${si(windows.width, "s")}: ${around.join(", ")}.`,
      ...here.slice(0, 3).map(([, move]) => {
        const [, cause, , to, reason] = [...byId("moves-table").tBodies[0].rows[move].cells].map((cell) => cell.textContent);
        return ` ${cause[0].toUpperCase()}${cause.slice(1)} to ${to}: ${reason}.`;
      }),
    );
  }

  /* Drawing. */

  function ticks(room) {
    const about = Math.max(2, Math.floor(room / 110));
    const rough = (view.to - view.from) / about;
    const steps = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
    const step = steps.find((one) => one >= rough) ?? 10 ** Math.ceil(Math.log10(rough));
    const first = Math.ceil(view.from / step - 1e-9);
    const count = Math.min(Math.floor(view.to / step + 1e-9) - first + 1, 200);
    return Array.from({ length: Math.max(count, 0) }, (_, i) => [(first + i) * step, clock((first + i) * step)]);
  }

  function draw() {
    const room = Math.max(home.clientWidth, NARROWEST);
    const shown = charts.map((chart) => axes[chart.key]?.ticks ?? []);
    const left = Math.max(...shown.map(roomFor));
    const wide = room - left - 12;
    const x = (time) => Number((left + ((time - view.from) / (view.to - view.from)) * wide).toFixed(1));
    let top = 0;
    const boxes = charts.map(({ height }) => {
      top += GAP;
      const box = { top, height };
      top += height;
      return box;
    });
    const all = top + 48;
    const figure = svg("svg", {
      class: "figure", viewBox: `0 0 ${room} ${all}`, height: all, tabindex: 0, role: "application", "aria-roledescription": "charts over time",
      "aria-label": `Charts over time: ${charts.map(({ name }) => name).join("; ")}. The left and right keys walk through them.`, "aria-describedby": "said",
    });
    const along = ticks(wide).map(([at, words]) => [x(at), words]);
    const clip = svg("clipPath", { id: "inside" }, svg("rect", { x: left, y: 0, width: wide, height: all }));
    figure.append(svg("defs", {}, clip));
    charts.forEach((chart, i) => {
      const box = boxes[i];
      const upright = (axes[chart.key]?.ticks ?? []).map(([at, words]) => [runCharts.scale(axes[chart.key], box.top, box.height)(at), words]);
      figure.append(
        svg("path", { class: "grid", d: [
          ...along.map(([at]) => `M${at} ${box.top}v${box.height}`), ...upright.map(([at]) => `M${left} ${at}h${wide}`),
        ].join("") }),
        svg("g", { "clip-path": "url(#inside)", class: chart.of }, ...runCharts.draw(chart, x, box, view)),
        axisBeside(upright, left, box.top, room, chart.name),
        svg("path", { class: "axis", d: `M${left} ${box.top}v${box.height}h${wide}` }),
      );
      if (chart.of === "band") figure.append(svg("path", { class: "move", d: moves.filter((at) => at >= view.from && at <= view.to).map((at) => `M${x(at)} ${box.top}l-4 -7h8Z`).join("") }));
    });
    const cursor = svg("path", { class: "now", visibility: "hidden" });
    const dragged = svg("rect", { class: "drag", y: boxes[0].top, height: top - boxes[0].top, visibility: "hidden" });
    figure.append(axisBelow(along, left, left + wide, top, "time since the run began"), dragged, cursor);
    const focused = home.contains(document.activeElement);
    home.replaceChildren(figure);
    drawn = { figure, cursor, dragged, x, left, wide, top, first: boxes[0].top, room };
    listen(figure);
    if (focused) figure.focus({ preventScroll: true });
    const part = view.from > whole.from || view.to < whole.to;
    byId("shown").textContent = part ? `${clock(view.from)} to ${clock(view.to)}` : "";
    byId("whole").disabled = byId("further").disabled = !part;
    byId("nearer").disabled = view.to - view.from <= shortest;
  }

  function point(time, visible = true) {
    const i = nearest(marks.at, time);
    now = marks.at[i];
    tell(i);
    const at = drawn.x(now + (marks.width ?? 0) / 2);
    drawn.cursor.setAttribute("d", `M${at} ${drawn.first}V${drawn.top}`);
    const inside = now >= view.from - (marks.width ?? 0) && now <= view.to;
    drawn.cursor.setAttribute("visibility", visible && inside ? "visible" : "hidden");
  }

  /* What part of the run is in view. */

  function look(from, to) {
    const length = Math.min(Math.max(to - from, shortest), whole.to - whole.from);
    view.from = Math.min(Math.max(from, whole.from), whole.to - length);
    view.to = view.from + length;
    draw();
    point(now);
  }

  function zoom(factor) {
    const centre = now >= view.from && now <= view.to ? now : (view.from + view.to) / 2;
    look(centre - (centre - view.from) * factor, centre + (view.to - centre) * factor);
  }

  function walk(steps) {
    const i = Math.min(Math.max(nearest(marks.at, now) + steps, 0), marks.at.length - 1);
    const time = marks.at[i];
    const length = view.to - view.from;
    if (time < view.from || time > view.to) {
      now = time;
      look(time - length / 2, time + length / 2);
    } else point(time);
  }

  function listen(figure) {
    let from = null; // where a drag began, in pixels
    const across = (event) => event.clientX - figure.getBoundingClientRect().left;
    const timeAt = (pixels) => view.from + ((pixels - drawn.left) / drawn.wide) * (view.to - view.from);
    const bounded = (pixels) => Math.min(Math.max(pixels, drawn.left), drawn.left + drawn.wide);
    figure.addEventListener("pointerdown", (event) => {
      if (event.button === 0 && event.pointerType !== "touch") from = bounded(across(event));
    });
    figure.addEventListener("pointermove", (event) => {
      const at = bounded(across(event));
      point(timeAt(at) - (marks.width ?? 0) / 2);
      if (from === null || Math.abs(at - from) < 5) return;
      drawn.dragged.setAttribute("x", Math.min(at, from));
      drawn.dragged.setAttribute("width", Math.abs(at - from));
      drawn.dragged.setAttribute("visibility", "visible");
    });
    figure.addEventListener("pointerup", (event) => {
      const [start, end] = [from, bounded(across(event))];
      from = null;
      drawn.dragged.setAttribute("visibility", "hidden");
      if (start !== null && Math.abs(end - start) >= 5) look(...[timeAt(start), timeAt(end)].sort((a, b) => a - b));
    });
    figure.addEventListener("pointerleave", () => {
      from = null;
      drawn.dragged.setAttribute("visibility", "hidden");
      if (document.activeElement !== figure) drawn.cursor.setAttribute("visibility", "hidden");
    });
    figure.addEventListener("focus", () => point(now));
    figure.addEventListener("blur", () => drawn.cursor.setAttribute("visibility", "hidden"));
    figure.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const many = Math.max(10, Math.round(marks.at.length / 20));
      const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -many, PageDown: many, Home: -Infinity, End: Infinity }[event.key];
      const factor = { "+": 0.5, "=": 0.5, "-": 2 }[event.key];
      if (steps === undefined && factor === undefined) return;
      event.preventDefault();
      if (factor) zoom(factor);
      else walk(steps);
    });
  }

  byId("nearer").addEventListener("click", () => zoom(0.5));
  byId("further").addEventListener("click", () => zoom(2));
  byId("whole").addEventListener("click", () => look(whole.from, whole.to));
  for (const button of document.querySelectorAll("button.go")) {
    button.addEventListener("click", () => {
      now = moves[Number(button.dataset.move)];
      const length = Math.min(view.to - view.from, Math.max(20, 200 * (marks.width ?? 0.05)));
      look(now - length / 2, now + length / 2);
      home.scrollIntoView({ block: "start" });
      drawn.figure.focus({ preventScroll: true });
      point(now);
    });
  }
  draw();
  point(now, false);
  new ResizeObserver(() => {
    if (Math.max(home.clientWidth, NARROWEST) === drawn.room) return;
    draw();
    point(now, document.activeElement === drawn.figure);
  }).observe(home);
})();
