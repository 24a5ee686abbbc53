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
    // the theme takes the list of contents away where something of this class is beside it
    tables.filter((one) => one.scrollWidth > one.clientWidth + 1).forEach((one) => one.classList.add("full-width"));
    scrollers.forEach(fade);
  }

  const resized = new ResizeObserver((seen) => seen.forEach(({ target }) => fade(target)));
  for (const one of scrollers) {
    one.addEventListener("scroll", () => fade(one), { passive: true });
    resized.observe(one);
  }
  window.addEventListener("resize", fit);
  window.addEventListener("load", fit); // pictures and letters have their sizes
  fit();
});
