// Puts the page together and says that it is ready.
(function (R) {
  "use strict";

  function contents() {
    const nav = document.getElementById("contents");
    for (const section of document.querySelectorAll(".chapter")) {
      const title = section.querySelector("h2");
      const link = R.el("a", { href: `#${section.id}` });
      link.innerHTML = title.innerHTML;
      nav.append(link);
    }
  }

  // Links within the page scroll, and leave the address to the state.
  function scrollLinks() {
    for (const link of document.querySelectorAll('a[href^="#"]')) {
      link.addEventListener("click", (event) => {
        const target = document.getElementById(link.getAttribute("href").slice(1));
        if (!target) return;
        event.preventDefault();
        target.scrollIntoView({ behavior: R.wantsCalm() ? "auto" : "smooth" });
        target.tabIndex = -1;
        target.focus({ preventScroll: true });
      });
    }
  }

  function theme() {
    const root = document.documentElement;
    const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
    try {
      const saved = localStorage.getItem("ropewalk-theme");
      if (saved === "dark" || saved === "light") root.dataset.theme = saved;
    } catch (error) {
      // a file page may have no storage: the choice lasts as long as the page
    }
    document.getElementById("theme").addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      try {
        localStorage.setItem("ropewalk-theme", root.dataset.theme);
      } catch (error) {
        // as above
      }
    });
  }

  theme();
  R.startState();
  contents();
  for (const build of R.chapters) build();
  R.buildPanel();
  scrollLinks();
  R.ready = true;
})(window.ropewalk);
