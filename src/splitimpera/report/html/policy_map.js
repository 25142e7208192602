"use strict";
/* What the map says of a policy's cells, and how it marks links beyond the grid or never met. */
(() => {
  const { axes, cells, names, designs, least } = given;
  const strides = axes.map((_, i) => axes.slice(i + 1).reduce((product, axis) => product * axis.labels.length, 1));
  const short = (value) => String(Number(value.toPrecision(3)));
  const EDGE = 6; // pixels of the rim

  given.facts = (cell) => {
    const best = cells.best[cell];
    const rows = axes.map(({ name, labels, spans }, i) => [name, spans[Math.floor(cell / strides[i]) % labels.length]]);
    rows.push(["met", cells.met[cell] ? `${short(100 * cells.met[cell])} % of the time` : "never, as the policy expects"]);
    if (cells.state[cell] !== "w") return rows;
    const own = best.find(([plan]) => plan === cells.plan[cell]) ?? best[0];
    for (const [plan, value, error] of best) {
      const [gain, margin] = [own[1] - value, Math.max(least, Math.hypot(own[2], error))];
      const worth = value ? `${value.toFixed(3)}${error ? ` ± ${short(error)}` : ""}` : "not feasible";
      let change = "";
      if (plan === own[0]) change = ", used here";
      else if (gain > margin) change = `; a change from it gains ${gain.toFixed(3)}`;
      else change = `; no change from it: they differ by ${Math.abs(gain).toFixed(3)}, the margin is ${margin.toFixed(3)}`;
      rows.push([names[plan][0], worth + change]);
    }
    return rows;
  };

  const fill = (cell) => (cells.state[cell] === "w" ? designs[cells.group[cell]].colour : "url(#hatch)");

  /* A rim in the colours of the cells at the edge, where links can lie beyond it; dots in cells that are never met. */
  given.over = (table, box, frame, [across, upright]) => {
    const made = [];
    const rim = (cell, x, y, width, height) => made.push(svg("rect", { class: "rim", x, y, width, height, fill: fill(cell) }));
    const [columns, rows] = [table[0].length, table.length];
    table.forEach((row, y) => {
      if (across?.beyond[0]) rim(row[0], frame.x - EDGE, box.top(y), EDGE, box.height);
      if (across?.beyond[1]) rim(row[columns - 1], frame.x + frame.width, box.top(y), EDGE, box.height);
    });
    for (let x = 0; upright && x < columns; x += 1) {
      if (upright.beyond[0]) rim(table[0][x], box.left(x), frame.y + frame.height, box.width, EDGE);
      if (upright.beyond[1]) rim(table[rows - 1][x], box.left(x), frame.y - EDGE, box.width, EDGE);
    }
    table.forEach((row, y) => row.forEach((cell, x) => {
      if (cells.met[cell]) return;
      made.push(svg("circle", { class: "never", cx: box.left(x) + box.width / 2, cy: box.top(y) + box.height / 2, r: Math.min(3, box.width / 3, box.height / 3) }));
    }));
    return made;
  };
})();
