"use strict";
(() => {
  const { figures } = JSON.parse(document.getElementById("data").textContent);
  const narrow = window.matchMedia("(max-width: 40rem)");
  const ink = () => getComputedStyle(document.body).color;

  function draw() {
    for (const [name, { data, layout }] of Object.entries(figures)) {
      const fitted = { ...layout, font: { ...layout.font, color: ink() } };
      if (narrow.matches) fitted.margin = { ...layout.margin, l: 45, r: 15 };
      Plotly.react(document.getElementById(`figure-${name}`), data, fitted, { responsive: true, displayModeBar: false });
    }
  }

  /* On paper: dark on light, as wide as a page. */
  function paper(printing) {
    for (const [name, { layout }] of Object.entries(figures)) {
      const size = printing ? { width: 680, height: Math.min(layout.height, 340) } : { width: null, height: layout.height, autosize: true };
      Plotly.relayout(document.getElementById(`figure-${name}`), { ...size, "font.color": printing ? "#000" : ink() });
    }
  }

  draw();
  narrow.addEventListener("change", draw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  window.addEventListener("beforeprint", () => paper(true));
  window.addEventListener("afterprint", () => paper(false));
})();
