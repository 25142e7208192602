"use strict";
/* The charts of a run, one below the other over one axis of time. Each `draw` returns SVG elements for what is in view. */

const runCharts = (() => {
  const { marks, windows, axes, plans, band, kinds, outages } = given;

  /* The entries in view, with one more on either side, so that lines go on to the edges. */
  function inView(at, view, after = 0) {
    let first = at.findIndex((time) => time + after >= view.from);
    if (first < 0) return [0, 0];
    let last = first;
    while (last < at.length && at[last] <= view.to) last += 1;
    first = Math.max(first - 1, 0);
    return [first, Math.min(last + 1, at.length)];
  }

  function scale({ low, high, log }, top, height) {
    const of = log ? (value) => Math.log(value / low) / Math.log(high / low) : (value) => (value - low) / (high - low);
    return (value) => Number((top + height * (1 - Math.min(Math.max(value > 0 || !log ? of(value) : 0, 0), 1))).toFixed(1));
  }

  /* A line through all that is known, broken where something is not. */
  function line(xs, ys) {
    let d = "";
    let pen = "M";
    xs.forEach((x, i) => {
      if (ys[i] === null) {
        pen = "M";
        return;
      }
      d += `${pen}${x} ${ys[i]}`;
      pen = "L";
    });
    return d;
  }

  /* The area between two lines, a piece for each row of known values. */
  function between(xs, lows, highs) {
    let d = "";
    for (let i = 0; i < xs.length;) {
      let end = i;
      while (end < xs.length && lows[end] !== null) end += 1;
      if (end > i) {
        const there = xs.slice(i, end).map((x, k) => `${x} ${highs[i + k]}`);
        const back = xs.slice(i, end).map((x, k) => `${x} ${lows[i + k]}`).reverse();
        d += `M${[...there, ...back].join("L")}Z`;
      }
      i = Math.max(end, i + 1);
    }
    return d;
  }

  function markChart({ key }, x, box, view) {
    const series = marks[key];
    const y = scale(axes[key], box.top, box.height);
    const half = (marks.width ?? 0) / 2;
    const [first, last] = inView(marks.at, view, marks.width ?? 0);
    const xs = marks.at.slice(first, last).map((at) => x(at + half));
    const ys = (name) => series[name].slice(first, last).map((value) => (value === null ? null : y(value)));
    if (marks.width !== null) {
      return [
        svg("path", { class: "range", d: between(xs, ys("low"), ys("high")) }),
        svg("path", { class: "middle", d: line(xs, ys("mid")) }),
      ];
    }
    if (key !== "latency") return [svg("path", { class: "middle", d: line(xs, ys("mid")) })];
    const size = xs.length > 400 ? 1.8 : 2.6;
    let d = "";
    ys("mid").forEach((at, i) => {
      if (at !== null) d += `M${xs[i] - size} ${at}a${size} ${size} 0 1 0 ${2 * size} 0a${size} ${size} 0 1 0 ${-2 * size} 0`;
    });
    return [svg("path", { class: "dots", d })];
  }

  function missed(x, box, view) {
    const [first, last] = inView(marks.at, view, marks.width ?? 0);
    const half = (marks.width ?? 0) / 2;
    let d = "";
    for (let i = first; i < last; i += 1) if (marks.missed[i]) d += `M${x(marks.at[i] + half)} ${box.top + box.height}v-7`;
    return svg("path", { class: "missed", d });
  }

  function deadline(x, box, view) {
    if (given.deadline === null || !axes.latency) return [];
    const y = scale(axes.latency, box.top, box.height)(given.deadline);
    return [
      svg("path", { class: "deadline", d: `M${x(view.from)} ${y}H${x(view.to)}` }),
      svg("text", { class: "deadline-name", x: x(view.to) - 4, y: y - 5, "text-anchor": "end" }, "deadline"),
    ];
  }

  function bandChart(x, box, view) {
    return band.filter(([from, to]) => to >= view.from && from <= view.to).flatMap(([from, to, plan]) => {
      const [left, right] = [x(Math.max(from, view.from)), x(Math.min(to, view.to))];
      const shape = { x: left, y: box.top, width: Math.max(right - left, 0.5), height: box.height };
      const made = [svg("rect", { ...shape, fill: plan < 0 ? "url(#hatch)" : plans[plan].colour })];
      if (plan >= 0 && right - left > 18) {
        const { id, letter, ink } = plans[plan];
        const words = widthOf(id, 13, 700) < right - left - 10 ? id : letter;
        made.push(svg("text", { class: "region", x: (left + right) / 2, y: box.top + box.height / 2, style: `fill:${ink};font-size:13px` }, words));
      }
      return made;
    });
  }

  function sharesChart(x, box, view) {
    const y = scale(axes.shares, box.top, box.height);
    const [first, last] = inView(windows.at, view);
    const xs = windows.at.slice(first, last).map(x);
    let floor = xs.map((_, i) => (windows.kinds[0][first + i] === null ? null : 0));
    return kinds.map(({ place, colour }) => {
      const top = floor.map((low, i) => (low === null ? null : Math.min(low + windows.kinds[place][first + i], 1)));
      const [lows, highs] = [floor, top].map((values) => values.map((value) => (value === null ? null : y(value))));
      floor = top;
      return svg("path", { d: between(xs, lows, highs), fill: colour });
    });
  }

  function qualityChart(x, box, view) {
    const y = scale(axes.quality, box.top, box.height);
    const [first, last] = inView(windows.at, view);
    const ys = windows.quality.slice(first, last).map((value) => (value === null ? null : y(value)));
    return [svg("path", { class: "middle", d: line(windows.at.slice(first, last).map(x), ys) })];
  }

  function draw(chart, x, box, view) {
    const shaded = outages.filter(([from, to]) => to >= view.from && from <= view.to).map(([from, to]) => {
      const [left, right] = [x(Math.max(from, view.from)), x(Math.min(to, view.to))];
      return svg("rect", { class: "outage", x: left, y: box.top, width: Math.max(right - left, 1), height: box.height });
    });
    switch (chart.of) {
      case "band": return bandChart(x, box, view);
      case "shares": return [...sharesChart(x, box, view), ...shaded];
      case "windows": return [...shaded, ...qualityChart(x, box, view)];
      default: return [
        ...shaded, ...markChart(chart, x, box, view),
        ...(chart.key === "latency" ? [missed(x, box, view), ...deadline(x, box, view)] : []),
      ];
    }
  }

  return { draw, scale };
})();
