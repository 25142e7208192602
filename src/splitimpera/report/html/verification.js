"use strict";
(() => {
  const { figures } = JSON.parse(document.getElementById("data").textContent);
  const narrow = window.matchMedia("(max-width: 40rem)");
  const plot = (name) => document.getElementById(`figure-${name}`);
  const ink = () => getComputedStyle(document.body).color;

  function draw() {
    for (const [name, { data, layout }] of Object.entries(figures)) {
      const fitted = { ...layout, font: { ...layout.font, color: ink() } };
      if (narrow.matches) fitted.margin = { ...layout.margin, l: 45, r: 15 };
      plot(name).style.height = `${layout.height}px`; // or what follows would be drawn over
      Plotly.react(plot(name), data, fitted, { responsive: true, displayModeBar: false });
    }
  }

  /* On paper: dark on light, as wide as a page. */
  function paper(printing) {
    for (const [name, { layout }] of Object.entries(figures)) {
      const height = printing ? Math.min(layout.height, 340) : layout.height;
      const size = printing ? { width: 680, height } : { width: null, height, autosize: true };
      plot(name).style.height = `${height}px`;
      Plotly.relayout(plot(name), { ...size, "font.color": printing ? "#000" : ink() });
    }
  }

  draw();
  narrow.addEventListener("change", draw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  window.addEventListener("beforeprint", () => paper(true));
  window.addEventListener("afterprint", () => paper(false));
})();
