"use strict";
(() => {
  const { axes, cells, designs, names, front, progress } = given;
  const places = new Map(cells.index.map((index, place) => [index, place]));

  /* Where a cell lies, in words. */
  function cellWords(index) {
    let rest = places.get(index);
    if (rest === undefined) return ""; // not on the map
    const said = axes.map((axis, i) => {
      const stride = axes.slice(i + 1).reduce((product, { labels }) => product * labels.length, 1);
      const step = Math.floor(rest / stride);
      rest -= step * stride;
      return axis.full ? axis.full[step] : `${axis.name} ${axis.labels[step]}`;
    });
    return said.join(", ");
  }

  /* A chart in shares of its width and height; `tell` says what is known of a mark, of which `walk` are visited by keys. */
  function chart(home, drawing, { height, mark, walk, tell, before = () => [], after = () => [], left = 0 }) {
    const room = Math.max(home.clientWidth, NARROWEST);
    const margin = { left: Math.max(roomFor(drawing.yticks), left), top: 34, right: 16, bottom: 48 };
    const [wide, tall] = [room - margin.left - margin.right, height];
    const x = (share) => Number((margin.left + share * wide).toFixed(1));
    const y = (share) => Number((margin.top + (1 - share) * tall).toFixed(1));
    const view = svg("svg", {
      class: "figure", viewBox: `0 0 ${room} ${margin.top + tall + margin.bottom}`, height: margin.top + tall + margin.bottom,
      tabindex: 0, role: "application", "aria-roledescription": "chart",
      "aria-label": `${drawing.y} against ${drawing.x}; the left and right keys visit ${walk.length} points`,
    });
    const across = drawing.xticks.map(([at, words]) => [x(at), words]);
    const upright = drawing.yticks.map(([at, words]) => [y(at), words]);
    view.append(
      svg("path", { class: "grid", d: [
        ...across.map(([at]) => `M${at} ${margin.top}v${tall}`), ...upright.map(([at]) => `M${margin.left} ${at}h${wide}`),
      ].join("") }),
      ...before({ x, y }),
      ...mark({ x, y, wide, tall }),
      ...after({ x, y, wide }),
      axisBelow(across, margin.left, margin.left + wide, margin.top + tall, drawing.x),
      axisBeside(upright, margin.left, margin.top, room, drawing.y),
      svg("path", { class: "axis", d: `M${margin.left} ${margin.top}v${tall}h${wide}` }),
    );
    const ring = svg("circle", { class: "ring", r: 11, visibility: "hidden" });
    view.append(ring);
    const { mark: marks } = drawing;
    const show = (i) => {
      ring.setAttribute("cx", x(marks.x[i]));
      ring.setAttribute("cy", y(marks.y[i]));
      ring.setAttribute("visibility", "visible");
      tell(i);
    };
    let visited = 0;
    const visit = (place) => {
      if (!walk.length) return;
      visited = Math.min(Math.max(place, 0), walk.length - 1);
      show(walk[visited]);
    };
    view.addEventListener("pointermove", (event) => {
      const seen = view.getBoundingClientRect();
      let [best, nearest] = [-1, 28 ** 2];
      marks.x.forEach((share, i) => {
        const far = (x(share) - event.clientX + seen.left) ** 2 + (y(marks.y[i]) - event.clientY + seen.top) ** 2;
        if (far < nearest) [best, nearest] = [i, far];
      });
      if (best >= 0) show(best);
    });
    view.addEventListener("pointerleave", () => ring.setAttribute("visibility", "hidden"));
    view.addEventListener("blur", () => ring.setAttribute("visibility", "hidden"));
    view.addEventListener("focus", () => visit(visited));
    view.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: visited - 1, ArrowRight: visited + 1, Home: 0, End: walk.length - 1 };
      if (moves[event.key] === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      visit(moves[event.key]);
    });
    home.replaceChildren(view);
    if (walk.length) tell(walk[0]);
  }

  /* The Pareto front, over all plans. */

  const picked = { kind: "quality", cost: "latency_p95" };

  function stepped(line, { x, y }, on) {
    const [first, ...more] = line;
    if (!first) return "";
    return `M${x(first[0])} ${y(first[1])}${more.map(([a, b]) => `H${x(a)}V${y(b)}`).join("")}${on ? `H${x(1)}` : ""}`;
  }

  function boxOf({ box }, { x, y }) {
    if (!box) return [];
    const [top, bottom] = [y(box.high), y(box.low)];
    return [svg("rect", { class: "box", x: x(0), y: top, width: x(box.right) - x(0), height: Math.max(bottom - top, 0) })];
  }

  function boxName({ box }, { x, y, wide }) {
    if (!box) return [];
    // below its lower edge; within it where there is no room
    const height = box.low === 0 ? y(box.high) + 16 : box.low < 0.12 ? y(box.low) - 8 : y(box.low) + 16;
    return [svg("text", { class: "box-name", x: x(0) + 8, y: height }, shortened(box.words, wide - 20))];
  }

  function marksOf(drawing, at) {
    const { mark, binned } = drawing;
    const most = Math.max(...mark.count, 2);
    const made = { bins: [], points: [], best: [] };
    const crowded = mark.front.filter(Boolean).length > 60;
    let lettered = [-Infinity, -Infinity]; // where the last letter stands
    mark.x.forEach((share, i) => {
      const colour = mark.colour[i] < 0 ? null : designs[mark.colour[i]];
      const style = colour ? { style: `fill:${colour.colour}` } : {};
      if (mark.front[i]) {
        const centre = { cx: at.x(share), cy: at.y(mark.y[i]) };
        const apart = colour && Math.hypot(centre.cx - lettered[0], centre.cy - lettered[1]) > 20;
        const size = apart ? 8 : crowded ? 2.5 : 5;
        made.best.push(svg("circle", { class: colour ? "on-front" : "on-front other", r: size, ...centre, ...style }));
        if (apart) {
          lettered = [centre.cx, centre.cy];
          made.best.push(svg("text", { class: "region", x: centre.cx, y: centre.cy, style: `fill:${colour.ink};font-size:10px` }, colour.letter));
        }
      } else if (binned) {
        const [width, height] = [binned[0] * at.wide, binned[1] * at.tall];
        const left = at.x(Math.floor(share / binned[0]) * binned[0]);
        const top = at.y((Math.floor(mark.y[i] / binned[1]) + 1) * binned[1]);
        made.bins.push(svg("rect", {
          class: "other", x: left + 0.5, y: top + 0.5, width: width - 1, height: height - 1, rx: 2,
          opacity: (0.25 + 0.75 * (Math.log(mark.count[i]) / Math.log(most))).toFixed(2), ...style,
        }));
      } else {
        const plain = mark.feasible[i] ? { class: "other", ...style } : { class: "hollow", style: colour ? `stroke:${colour.colour}` : "" };
        made.points.push(svg("circle", { r: 3.5, cx: at.x(share), cy: at.y(mark.y[i]), ...plain }));
      }
    });
    const line = svg("path", { class: "front", d: stepped(drawing.line, at, true) });
    return [...made.bins, ...made.points, line, ...made.best];
  }

  function drawFront() {
    const drawing = front.find(({ key }) => key === `${picked.kind}-${picked.cost}`) ?? front[0];
    const { mark } = drawing;
    const tell = (i) => {
      const [id, words] = names[mark.design[i]];
      const where = cellWords(mark.cell[i]);
      const many = mark.count[i] > 1 ? `The best of ${mark.count[i]} plans here. ` : "";
      byId("front-said").replaceChildren(
        many, element("strong", {}, words), ` (${id}): ${mark.said[i]}.`, where ? ` In the cell ${where}.` : "",
        mark.front[i] ? " On the front." : "",
      );
    };
    const walk = mark.front.map((on, i) => [on, i]).filter(([on]) => on).map(([, i]) => i);
    chart(byId("chart-front"), drawing, {
      height: 400, walk, tell, mark: (at) => marksOf(drawing, at), before: (at) => boxOf(drawing, at),
      after: (at) => boxName(drawing, at),
    });
  }

  function frontChoices() {
    const there = (part, value) => front.find(({ key }) => key.split("-")[part] === value);
    const goods = ["quality", "value"].filter((kind) => there(0, kind)).map((kind) => [kind, there(0, kind).y]);
    const costs = ["latency_p95", "payload_bytes"].filter((cost) => there(1, cost)).map((cost) => [cost, there(1, cost).x]);
    byId("front-axes").replaceChildren(
      choice("upright", goods, picked.kind, (kind) => { picked.kind = kind; drawFront(); }),
      choice("across", costs, picked.cost, (cost) => { picked.cost = cost; drawFront(); }),
    );
  }

  /* What a search found over time. */

  function drawProgress() {
    const left = Math.max(...progress.map(({ yticks }) => roomFor(yticks))); // one axis of time for all
    for (const drawing of progress) {
      const { key, mark, line } = drawing;
      const last = line.at(-1) ?? [0, 0];
      chart(byId(`chart-${key}`), { ...drawing, x: "time since the study began" }, {
        height: key === "best" ? 300 : 150,
        left,
        walk: mark.front.map((on, i) => [on, i]).filter(([on]) => on).map(([, i]) => i),
        tell: (i) => { byId("progress-said").textContent = mark.said[i]; },
        mark: (at) => [
          ...(key === "spent" ? [svg("path", { class: "area", d: `M${line.map(([a, b]) => `${at.x(a)} ${at.y(b)}`).join("L")}L${at.x(last[0])} ${at.y(0)}Z` })] : []),
          ...mark.x.map((share, i) => svg("circle", { class: mark.front[i] ? "best" : "trained", r: mark.front[i] ? 5 : 3, cx: at.x(share), cy: at.y(mark.y[i]) })),
          svg("path", { class: "front", d: key === "best" ? stepped(line, at, false) : `M${line.map(([a, b]) => `${at.x(a)} ${at.y(b)}`).join("L")}` }),
        ],
      });
    }
  }

  function draw() {
    if (front.length) drawFront();
    drawProgress();
  }

  if (front.length) frontChoices();
  draw();
  let drawn = document.body.clientWidth;
  new ResizeObserver(() => {
    if (document.body.clientWidth === drawn) return;
    drawn = document.body.clientWidth;
    draw();
  }).observe(document.body);
})();
