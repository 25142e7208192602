"use strict";
(() => {
  const { axes, cells, designs, names, texts } = given;
  const strides = axes.map((_, i) => axes.slice(i + 1).reduce((product, axis) => product * axis.labels.length, 1));
  const count = cells.state.length;
  const fills = { n: "url(#hatch)", f: "url(#crosses)", l: "url(#dots)" };
  const chosen = {
    x: axes.length ? 0 : null,
    y: axes.length > 1 ? 1 : null,
    facet: axes.length > 2 && axes[2].labels.length <= given.facets ? 2 : null,
    at: axes.map(() => 0), // of those that are neither
  };
  const cursor = axes.map((axis) => Math.floor((axis.labels.length - 1) / 2));
  let panels = [];

  const steps = (axis) => (axis === null ? 1 : axes[axis].labels.length);
  const flat = (place) => place.reduce((sum, step, axis) => sum + step * strides[axis], 0);
  const kind = (cell) => (cells.state[cell] === "w" ? `w${cells.plan[cell]}` : cells.state[cell]);
  const fill = (cell) => (cells.state[cell] === "w" ? designs[cells.group[cell]].colour : fills[cells.state[cell]]);

  function placeOf(facet, x, y) {
    const place = [...chosen.at];
    if (chosen.facet !== null) place[chosen.facet] = facet;
    if (chosen.x !== null) place[chosen.x] = x;
    if (chosen.y !== null) place[chosen.y] = y;
    return place;
  }

  /* What is known of a cell, in words. */

  const design = (number) => `${names[number][1]} (${names[number][0]})`;
  const why = (cell) => (cells.why[cell] === -2 ? "see cells.csv" : texts[cells.why[cell]] ?? "");
  const valueOf = (place) => axes.map((axis, i) => (axis.full ? axis.full[place[i]] : `${axis.name} ${axis.labels[place[i]]}`));

  function heading(cell) {
    if (cells.state[cell] === "l") return "Left to do";
    if (cells.state[cell] === "f") return "Failed";
    if (cells.state[cell] === "n") return given.infeasible;
    return names[cells.plan[cell]][1];
  }

  function facts(cell) {
    if (given.facts) return given.facts(cell);
    const plan = cells.plan[cell];
    const rows = [];
    if (cells.state[cell] === "w") rows.push(["plan", names[plan][0]], ["certainty", cells.certainty[cell]]);
    if (cells.state[cell] === "n" && plan >= 0) rows.push(["closest", design(plan)], ["it misses", why(cell)]);
    if (plan >= 0) rows.push([given.quality, cells.quality[cell]], ["p95 latency", cells.latency[cell]]);
    if (cells.state[cell] === "w") {
      rows.push(["value", `${cells.value[cell]} (${given.value})`]);
      if (cells.second[cell] >= 0) rows.push(["runner-up", design(cells.second[cell])]);
      rows.push(["why", why(cell)]);
    }
    if (cells.state[cell] === "f") rows.push(["reason", why(cell)]);
    if (cells.plans[cell]) rows.push(["feasible", `${cells.feasible[cell]} of ${cells.plans[cell]} plans`]);
    return rows.filter(([, words]) => words);
  }

  function tell(place) {
    const cell = flat(place);
    const list = element("dl");
    for (const [title, words] of facts(cell)) list.append(element("dt", {}, title), element("dd", {}, words));
    const at = valueOf(place).join(", ");
    byId("cell").replaceChildren(
      ...(at ? [element("p", { class: "at" }, at)] : []), element("h3", {}, heading(cell)), list,
    );
  }

  /* A panel: regions, their borders and names. */

  function grid(facet, columns, rows) {
    return Array.from({ length: rows }, (_, y) => Array.from({ length: columns }, (_, x) => flat(placeOf(facet, x, y))));
  }

  function regions(table, box) {
    const paths = new Map();
    table.forEach((row, y) => {
      for (let x = 0; x < row.length;) {
        let end = x;
        while (end < row.length && kind(row[end]) === kind(row[x])) end += 1;
        const key = fill(row[x]);
        paths.set(key, `${paths.get(key) ?? ""}M${box.left(x)} ${box.top(y)}H${box.left(end)}V${box.top(y - 1)}H${box.left(x)}Z`);
        x = end;
      }
    });
    return [...paths].map(([key, d]) => svg("path", { d, fill: key, "shape-rendering": "crispEdges" }));
  }

  function borders(table, box) {
    let d = "";
    table.forEach((row, y) => row.forEach((cell, x) => {
      if (x + 1 < row.length && kind(cell) !== kind(row[x + 1])) d += `M${box.left(x + 1)} ${box.top(y)}V${box.top(y - 1)}`;
      if (y + 1 < table.length && kind(cell) !== kind(table[y + 1][x])) d += `M${box.left(x)} ${box.top(y)}H${box.left(x + 1)}`;
    }));
    return ["border", "border inner"].map((name) => svg("path", { class: name, d }));
  }

  function mesh(table, box) {
    if (box.width < 10 || box.height < 10) return [];
    let d = "";
    for (let x = 1; x < table[0].length; x += 1) d += `M${box.left(x)} ${box.top(-1)}V${box.top(table.length - 1)}`;
    for (let y = 0; y < table.length - 1; y += 1) d += `M${box.left(0)} ${box.top(y)}H${box.left(table[0].length)}`;
    return [svg("path", { class: "mesh", d })];
  }

  /* Each connected region has its design's name, or its letter, at the middle of its thickest part. */
  function labels(table, box) {
    const seen = table.map((row) => row.map(() => false));
    const made = [];
    const alike = (x, y, key) => table[y]?.[x] !== undefined && kind(table[y][x]) === key;
    table.forEach((row, y) => row.forEach((cell, x) => {
      if (seen[y][x] || cells.state[cell] !== "w") return;
      const key = kind(cell);
      const region = [];
      const waiting = [[x, y]];
      seen[y][x] = true;
      while (waiting.length) {
        const [a, b] = waiting.pop();
        region.push([a, b]);
        for (const [c, d] of [[a + 1, b], [a - 1, b], [a, b + 1], [a, b - 1]]) {
          if (!alike(c, d, key) || seen[d][c]) continue;
          seen[d][c] = true;
          waiting.push([c, d]);
        }
      }
      const winner = designs[cells.group[cell]];
      const id = winner.letter === "*" ? names[cells.plan[cell]][0] : winner.id;
      made.push(...label(widest(region, table, box), { ...winner, id }));
    }));
    return made;
  }

  /* The largest free rectangle of a region, in pixels, as far as its rows' runs tell. */
  function widest(region, table, box) {
    const runs = new Map();
    for (const [x, y] of region) {
      if (!runs.has(y)) runs.set(y, []);
      runs.get(y).push(x);
    }
    let best = { size: -1 };
    const spans = [];
    for (const [y, places] of runs) {
      places.sort((a, b) => a - b);
      let first = 0;
      places.forEach((x, i) => {
        if (places[i + 1] === x + 1) return;
        spans.push({ y, from: places[first], to: x + 1 });
        first = i + 1;
      });
    }
    const own = new Set(region.map(([x, y]) => y * table[0].length + x));
    const inside = (from, to, y) => {
      for (let x = from; x < to; x += 1) if (!own.has(y * table[0].length + x)) return false;
      return true;
    };
    for (const { y, from, to } of spans.slice(0, 400)) {
      let [low, high] = [y, y];
      while (inside(from, to, low - 1)) low -= 1;
      while (inside(from, to, high + 1)) high += 1;
      const found = { wide: (to - from) * box.width, tall: (high - low + 1) * box.height };
      const size = Math.min(found.wide, 220) * Math.min(found.tall, 60);
      if (size > best.size) best = { ...found, size, x: (box.left(from) + box.left(to)) / 2, y: (box.top(low - 1) + box.top(high)) / 2 };
    }
    return best;
  }

  function label({ wide, tall, x, y }, { id, letter, ink }) {
    if (wide < 12 || tall < 12) return [];
    const named = widthOf(id, 13, 700) < wide - 14;
    const style = { class: "region", x, y, style: `fill:${ink};font-size:${named ? 13 : 12}px` };
    if (named && letter !== "*" && tall > 44) {
      return [
        svg("text", { ...style, y: y - 9, style: `fill:${ink};font-size:16px` }, letter),
        svg("text", { ...style, y: y + 10 }, id),
      ];
    }
    return [svg("text", style, named ? id : letter)];
  }

  function outline(table, box, facet) {
    const mark = svg("g", { visibility: "hidden" }, ...["cursor", "cursor inner"].map((name) => svg("rect", { class: name })));
    return {
      mark,
      show(x, y) {
        const [width, height] = [Math.max(box.width, 6), Math.max(box.height, 6)];
        for (const rect of mark.children) {
          rect.setAttribute("x", box.left(x) + (box.width - width) / 2);
          rect.setAttribute("y", box.top(y) + (box.height - height) / 2);
          rect.setAttribute("width", width);
          rect.setAttribute("height", height);
        }
        mark.setAttribute("visibility", "visible");
        tell(placeOf(facet, x, y));
      },
      hide: () => mark.setAttribute("visibility", "hidden"),
    };
  }

  function panel(facet, room) {
    const [across, upright] = [axes[chosen.x], axes[chosen.y]];
    const [columns, rows] = [steps(chosen.x), steps(chosen.y)];
    const margin = { left: upright ? roomFor(upright.ticks) : 10, top: upright ? 30 : 8, right: 14, bottom: 48 };
    const wide = room - margin.left - margin.right;
    const tall = upright ? Math.round(Math.min(Math.max(wide * 0.72, 160), 520)) : 90;
    const box = {
      width: wide / columns,
      height: tall / rows,
      left: (x) => Number((margin.left + (x * wide) / columns).toFixed(2)),
      top: (y) => Number((margin.top + tall - ((y + 1) * tall) / rows).toFixed(2)),
    };
    const table = grid(facet, columns, rows);
    const where = chosen.facet === null ? "" : `${axes[chosen.facet].name} ${axes[chosen.facet].labels[facet]}`;
    const view = svg("svg", {
      class: "figure",
      viewBox: `0 0 ${room} ${margin.top + tall + margin.bottom}`,
      height: margin.top + tall + margin.bottom,
      tabindex: 0,
      role: "application",
      "aria-roledescription": "map of designs",
      "aria-label": [given.title ?? "Which design wins where", where, "arrow keys move from cell to cell"].filter(Boolean).join("; "),
      "aria-describedby": "cell",
    });
    const frame = { x: margin.left, y: margin.top, width: wide, height: tall };
    view.append(
      ...regions(table, box), ...mesh(table, box), ...borders(table, box),
      ...(given.over?.(table, box, frame, [across, upright]) ?? []),
      svg("rect", { class: "frame", ...frame }), ...labels(table, box),
      axisBelow(across.ticks.map(([at, words]) => [box.left(at + 0.5), words]), margin.left, margin.left + wide, margin.top + tall, across.name),
    );
    if (upright) {
      const ticks = upright.ticks.map(([at, words]) => [box.top(at - 0.5), words]);
      view.append(axisBeside(ticks, margin.left, margin.top, room, upright.name));
    }
    const pointed = outline(table, box, facet);
    view.append(pointed.mark);
    listen(view, pointed, frame, columns, rows, facet);
    const figure = element("figure", {}, view);
    if (where) figure.prepend(element("figcaption", {}, where));
    return { figure, view, pointed };
  }

  function listen(view, pointed, frame, columns, rows, facet) {
    const show = () => pointed.show(cursor[chosen.x] ?? 0, cursor[chosen.y] ?? 0);
    const under = (event) => {
      const seen = view.getBoundingClientRect();
      const x = Math.floor(((event.clientX - seen.left - frame.x) / frame.width) * columns);
      const y = rows - 1 - Math.floor(((event.clientY - seen.top - frame.y) / frame.height) * rows);
      return x >= 0 && x < columns && y >= 0 && y < rows ? [x, y] : null;
    };
    const settle = () => {
      pointed.hide();
      if (document.activeElement === view) show();
    };
    const move = (x, y) => {
      if (chosen.x !== null) cursor[chosen.x] = Math.min(Math.max(x, 0), columns - 1);
      if (chosen.y !== null) cursor[chosen.y] = Math.min(Math.max(y, 0), rows - 1);
      if (chosen.facet !== null) cursor[chosen.facet] = facet;
      show();
    };
    view.addEventListener("pointermove", (event) => {
      const at = under(event);
      if (at) pointed.show(...at);
      else settle();
    });
    view.addEventListener("pointerleave", settle);
    view.addEventListener("click", (event) => {
      const at = under(event);
      if (at) move(...at);
    });
    view.addEventListener("focus", () => move(cursor[chosen.x] ?? 0, cursor[chosen.y] ?? 0));
    view.addEventListener("blur", () => pointed.hide());
    view.addEventListener("keydown", (event) => {
      const [x, y] = [cursor[chosen.x] ?? 0, cursor[chosen.y] ?? 0];
      const moves = {
        ArrowLeft: [x - 1, y], ArrowRight: [x + 1, y], ArrowUp: [x, y + 1], ArrowDown: [x, y - 1],
        Home: [0, y], End: [columns - 1, y], PageUp: [x, rows - 1], PageDown: [x, 0],
      };
      if (!moves[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      move(...moves[event.key]);
    });
  }

  function draw() {
    const home = byId("panels");
    if (chosen.x === null) {
      tell([]);
      home.parentElement.style.gridTemplateColumns = "minmax(0, 1fr)";
      home.hidden = true;
      return;
    }
    home.parentElement.classList.toggle("several", chosen.facet !== null);
    const focused = panels.findIndex(({ view }) => view === document.activeElement);
    const facets = chosen.facet === null ? [0] : axes[chosen.facet].labels.map((_, i) => i);
    const gap = 16;
    const fitting = Math.max(1, Math.min(facets.length, Math.floor((home.clientWidth + gap) / (304 + gap))));
    home.style.gridTemplateColumns = `repeat(${fitting}, minmax(0, 1fr))`;
    const room = Math.max(Math.floor((home.clientWidth - gap * (fitting - 1)) / fitting), NARROWEST);
    panels = facets.map((facet) => panel(facet, room));
    home.replaceChildren(...panels.map(({ figure }) => figure));
    tell(placeOf(chosen.facet === null ? 0 : cursor[chosen.facet], cursor[chosen.x] ?? 0, cursor[chosen.y] ?? 0));
    if (focused >= 0) (panels[focused] ?? panels[0]).view.focus();
  }

  /* The reader's choice of axes, and the values of all others. */

  function choose(role, value) {
    const wanted = value === "" ? null : Number(value);
    for (const other of ["x", "y", "facet"]) {
      if (other !== role && wanted !== null && chosen[other] === wanted) chosen[other] = chosen[role];
    }
    chosen[role] = wanted;
    if (chosen.facet !== null && axes[chosen.facet].labels.length > given.facets) chosen.facet = null;
    if (chosen.x === null) [chosen.x, chosen.y] = [chosen.y, null];
    controls();
    draw();
    byId(`axis-${role}`)?.focus();
  }

  function slider(axis) {
    const { name, labels } = axes[axis];
    const said = element("output", {}, labels[chosen.at[axis]]);
    const input = element("input", { type: "range", min: 0, max: labels.length - 1, step: 1, value: chosen.at[axis], "aria-valuetext": labels[chosen.at[axis]] });
    input.addEventListener("input", () => {
      cursor[axis] = chosen.at[axis] = Number(input.value);
      said.textContent = labels[chosen.at[axis]];
      input.setAttribute("aria-valuetext", labels[chosen.at[axis]]);
      draw();
    });
    return element("label", {}, name, input, said);
  }

  function fixed(axis) {
    if (axes[axis].numbers) return slider(axis);
    return choice(axes[axis].name, axes[axis].labels.map((words, i) => [i, words]), chosen.at[axis], (value) => {
      cursor[axis] = chosen.at[axis] = Number(value);
      draw();
    });
  }

  function controls() {
    if (axes.length < 2) return;
    const form = byId("axes");
    const every = axes.map(({ name }, i) => [i, name]);
    const few = every.filter(([i]) => axes[i].labels.length <= given.facets);
    const lists = [
      ["x", "across", every, chosen.x],
      ["y", "upright", [...every, ["", "nothing"]], chosen.y ?? ""],
      ...(axes.length > 2 && few.length ? [["facet", "side by side", [...few, ["", "nothing"]], chosen.facet ?? ""]] : []),
    ];
    const made = lists.map(([role, title, options, value]) => {
      const label = choice(title, options, value, (picked) => choose(role, picked));
      label.lastChild.id = `axis-${role}`;
      return label;
    });
    const used = new Set([chosen.x, chosen.y, chosen.facet]);
    form.replaceChildren(...made, ...axes.map((_, i) => i).filter((i) => !used.has(i)).map(fixed));
    form.hidden = false;
  }

  controls();
  draw();
  let drawn = byId("panels").clientWidth;
  new ResizeObserver(() => {
    if (byId("panels").clientWidth === drawn || chosen.x === null) return;
    drawn = byId("panels").clientWidth;
    draw();
  }).observe(byId("panels"));
  if (!count) byId("cell").hidden = true;
})();
