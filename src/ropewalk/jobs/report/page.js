// Unpacks plotly, draws the figures, and keeps legend, theme and print in step. Without it every number is still in the tables.
(() => {
  "use strict";
  const root = document.documentElement;
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const plots = [...document.querySelectorAll(".plot")];

  // plotly is kept gzipped: a third of its size
  async function unpacked() {
    const bytes = Uint8Array.from(atob(document.getElementById("plotly").textContent.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  async function draw() {
    try {
      await unpacked();
      for (const plot of plots) {
        plot.textContent = "";
        const { data, layout } = figures[plot.id];
        await Plotly.newPlot(plot, data, layout, { displayModeBar: false, responsive: true });
      }
    } catch (error) {
      for (const plot of plots) plot.textContent = `This figure needs a browser from 2023 or later (${error.message}). Its numbers are in the tables.`;
    }
    root.dataset.drawn = "true";
  }

  // one button per method shows or hides its line and its band
  for (const button of document.querySelectorAll(".keys button")) {
    button.addEventListener("click", () => {
      const plot = document.getElementById(button.dataset.plot);
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      const mine = plot.data.flatMap((trace, i) => ((trace.legendgroup || trace.name) === button.dataset.group ? [i] : []));
      Plotly.restyle(plot, { visible: shown }, mine);
    });
  }

  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  document.getElementById("theme").addEventListener("click", () => (root.dataset.theme = dark() ? "light" : "dark"));

  // paper: everything unfolded, pictures as wide as a sheet
  const folded = [...document.querySelectorAll("details:not([open])")];
  function onPaper(yes) {
    folded.forEach((details) => (details.open = yes));
    const size = yes ? { autosize: false, width: 640, height: 340 } : { autosize: true, width: null, height: null };
    plots.filter((plot) => plot.data).forEach((plot) => Plotly.relayout(plot, size));
  }
  addEventListener("beforeprint", () => onPaper(true));
  addEventListener("afterprint", () => onPaper(false));

  draw();
})();
