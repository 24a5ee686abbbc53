// What the explorer and "Try it in the page" share: elements, numbers, heat.
const p2pDrawing = (() => {
  "use strict";
  const HEAT = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]]; // dark to bright

  /** An element with properties and children; texts are texts, never HTML. */
  function make(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(properties)) {
      if (key in element && key !== "style") element[key] = value;
      else element.setAttribute(key, value);
    }
    element.append(...children.flat().filter((child) => child !== null && child !== ""));
    return element;
  }
  const percent = (share) => `${Math.round(100 * share)}\u00a0%`;
  const signed = (value) => `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(2)}`;

  /** A canvas of a pixel a cell; values from 0 to 1, row by row. The brighter, the less is seen through it. */
  function heatMap(values, width, height) {
    const small = make("canvas", { width, height }), pen = small.getContext("2d");
    const map = pen.createImageData(width, height);
    values.forEach((value, cell) => {
      const at = value * (HEAT.length - 1), low = Math.min(Math.floor(at), HEAT.length - 2);
      const colour = HEAT[low].map((from, n) => from + (HEAT[low + 1][n] - from) * (at - low));
      map.data.set([...colour, 255 * (0.25 + 0.6 * value)], 4 * cell);
    });
    pen.putImageData(map, 0, 0);
    return small;
  }
  return { make, percent, signed, heatMap };
})();
