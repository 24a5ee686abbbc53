// A table wider than the column takes the room beside it; what scrolls fades where there is more of it (book.css).
document.addEventListener("DOMContentLoaded", () => {
  const all = (names) => [...document.querySelectorAll(`.bd-article :is(${names})`)];
  const tables = all(".pst-scrollable-table-container");
  const scrollers = [...tables, ...all("figure, .cell_output, .archive")];

  function fade(one) {
    const rest = one.scrollWidth - one.clientWidth - one.scrollLeft;
    one.classList.toggle("more-left", one.scrollLeft > 1);
    one.classList.toggle("more-right", rest > 1 && getComputedStyle(one).overflowX !== "visible");
  }

  function fit() {
    tables.forEach((one) => one.classList.remove("full-width"));
    tables.filter((one) => one.scrollWidth > one.clientWidth + 1).forEach((one) => one.classList.add("full-width"));
    scrollers.forEach(fade);
  }

  // the list of contents is away while such a table is beside it
  const contents = document.querySelector(".bd-sidebar-secondary"), beside = new Set();
  const passing = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) beside[isIntersecting ? "add" : "delete"](target);
    contents?.classList.toggle("away", [...beside].some((one) => one.classList.contains("full-width")));
  }, { rootMargin: "0px 0px -33% 0px" });
  tables.forEach((one) => passing.observe(one));

  const resized = new ResizeObserver((seen) => seen.forEach(({ target }) => fade(target)));
  for (const one of scrollers) {
    one.addEventListener("scroll", () => fade(one), { passive: true });
    resized.observe(one);
  }
  window.addEventListener("resize", fit);
  window.addEventListener("load", fit); // pictures and letters have their sizes
  fit();
});
