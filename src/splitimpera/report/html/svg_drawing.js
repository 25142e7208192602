"use strict";
/* What the map and the charts share: SVG elements, axes, texts that make room for one another. */

const SVG = "http://www.w3.org/2000/svg";
const given = JSON.parse(document.getElementById("data").textContent);
const NARROWEST = 200; // pixels of a figure
const byId = (id) => document.getElementById(id);
const pen = document.createElement("canvas").getContext("2d");

function svg(name, attributes = {}, ...content) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...content);
  return made;
}

function element(name, attributes = {}, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...content);
  return made;
}

function widthOf(text, size = 12, weight = 400) {
  pen.font = `${weight} ${size}px system-ui, sans-serif`;
  return pen.measureText(text).width;
}

function shortened(text, most, size = 12) {
  if (widthOf(text, size) <= most) return text;
  let end = text.length;
  while (end > 1 && widthOf(`${text.slice(0, end)}…`, size) > most) end -= 1;
  return `${text.slice(0, end)}…`;
}

/* Ticks are [place in pixels, words]; those go without words that have no room. */

function axisBelow(ticks, left, right, y, name) {
  const made = svg("g");
  const taken = [];
  const round = ([, words]) => (/^10*( |$)/.test(words) ? 0 : 1); // powers of ten come first
  for (const [x, words] of [...ticks].sort((a, b) => round(a) - round(b) || a[0] - b[0])) {
    const said = shortened(words, Math.max(right - left, 60));
    const half = widthOf(said) / 2;
    const centre = Math.max(Math.min(x, right + 12 - half), left - 20 + half);
    const room = taken.every(([from, to]) => centre + half < from - 8 || centre - half > to + 8);
    made.append(svg("path", { class: "tick", d: `M${x} ${y}v${room ? 6 : 3}` }));
    if (!room) continue;
    taken.push([centre - half, centre + half]);
    made.append(svg("text", { x: centre, y: y + 19, "text-anchor": "middle" }, said));
  }
  made.append(svg("text", { class: "name", x: (left + right) / 2, y: y + 40, "text-anchor": "middle" },
    shortened(name, right - left + 60, 13)));
  return made;
}

function axisBeside(ticks, x, top, right, name) {
  const made = svg("g");
  let end = Infinity;
  for (const [y, words] of [...ticks].sort((a, b) => b[0] - a[0])) {
    const room = y < end - 14;
    made.append(svg("path", { class: "tick", d: `M${x} ${y}h${room ? -6 : -3}` }));
    if (!room) continue;
    end = y;
    made.append(svg("text", { x: x - 9, y, "text-anchor": "end", "dominant-baseline": "central" },
      shortened(words, 120)));
  }
  made.append(svg("text", { class: "name", x: 0, y: top - 12 }, shortened(name, right, 13)));
  return made;
}

const roomFor = (ticks) => Math.min(Math.max(24, ...ticks.map(([, words]) => widthOf(words))), 120) + 12;

/* A list to choose from: [[value, words], ...]. */
function choice(title, options, value, changed) {
  const list = element("select", {}, ...options.map(([key, words]) => {
    const option = element("option", { value: key }, words);
    option.selected = String(key) === String(value);
    return option;
  }));
  list.addEventListener("change", () => changed(list.value));
  return element("label", {}, title, list);
}
