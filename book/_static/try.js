// A picture, explained by a packed network in this browser. The network's files are those of p2p/evaluation/browser.py;
// what is made of its answers follows p2p/evaluation/explanation.py. Nothing is sent anywhere.
(() => {
  "use strict";
  const COUNT = 5; // prototypes told one by one
  const AGAINST = 2; // and of those that speak against the class
  const ROLE = "#009E73", OTHER = "#D55E00";
  const { make, percent, signed, heatMap } = p2pDrawing;
  const ROUNDING = 1e-4; // the ε of similarities: a smaller difference of distances is rounding
  const root = document.getElementById("try"), files = root.dataset.files;
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const status = part("status"), detail = part("detail"), chooser = part("network"), input = part("file");
  const networks = {}; // promises by name
  let runtime = null; // a promise
  let asked = 0; // pictures so far: an answer that comes late is not shown

  // ---------------------------------------------------------------- small helpers

  const fixed = (value) => `${value < 0 ? "\u2212" : ""}${Math.abs(value).toFixed(2)}`;
  const place = ([row, column]) => `row ${row + 1}, column ${column + 1}`;

  /** What a screen reader is told; everybody, where it is no result. */
  function say(text, kind = "") {
    status.textContent = text;
    status.classList.toggle("visually-hidden", !kind);
    status.classList.toggle("amiss", kind === "amiss");
  }
  /** What went wrong, as one sentence for the reader. */
  class Amiss extends Error {}

  // ---------------------------------------------------------------- what is loaded

  async function get(path) {
    const answer = await fetch(path).catch(() => null);
    if (!answer || !answer.ok) {
      throw new Amiss(`A file of this part, ${path.split("/").pop()}, could not be loaded, so nothing can be explained ` +
        "here; build the book again (make book), or serve all of its folder.");
    }
    return answer;
  }
  function start() {
    return runtime ||= import(new URL(`${files}/ort.wasm.bundle.min.mjs`, document.baseURI)).then((ort) => {
      ort.env.wasm.numThreads = 1; // more would need headers that simple servers do not send
      ort.env.logLevel = "error";
      return ort;
    }).catch(() => {
      runtime = null;
      throw new Amiss("ONNX Runtime Web, which runs the network, could not be loaded, so nothing can be explained here; " +
        "build the book again (make book), or serve all of its folder.");
    });
  }
  /** Facts, sheet of patches and, where it has been asked for, the session of a network. */
  function facts(name) {
    return (networks[name] ||= (async () => {
      const folder = `${files}/${name}`;
      const told = await (await get(`${folder}/network.json`)).json();
      const sheet = await createImageBitmap(await (await get(`${folder}/sources.webp`)).blob());
      return { ...told, folder, sheet };
    })().catch((error) => { delete networks[name]; throw error; }));
  }
  async function session(network) {
    const ort = await start();
    network.session ||= await (async () => {
      const bytes = new Uint8Array(await (await get(`${network.folder}/network.onnx`)).arrayBuffer());
      await get(`${files}/ort-wasm-simd-threaded.wasm`); // else the runtime says in its own words what is missing
      return ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
    })().catch((error) => {
      if (error instanceof Amiss) throw error;
      throw new Amiss(`This browser cannot run the network (${String(error.message).split("\n")[0].slice(0, 120)}); try ` +
        "a newer one.");
    });
    return [ort, network.session];
  }

  // ---------------------------------------------------------------- the picture, prepared as p2p.data.photo does

  /** RGBA pixels of a file, upright, what is transparent on white. */
  async function decode(blob, name) {
    const options = { imageOrientation: "from-image", colorSpaceConversion: "none" };
    const image = await createImageBitmap(blob, options).catch(() => {
      throw new Amiss(`\u201c${name}\u201d is no picture that this browser can read; choose a JPEG, PNG or WebP file.`);
    });
    const { width, height } = image;
    const pen = make("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
    try {
      pen.fillStyle = "#fff";
      pen.fillRect(0, 0, width, height);
      pen.drawImage(image, 0, 0);
      return pen.getImageData(0, 0, width, height);
    } catch {
      throw new Amiss(`\u201c${name}\u201d is too large for this browser (${width} \u00d7 ${height} pixels); make it smaller.`);
    } finally {
      image.close();
    }
  }

  const BITS = 22; // of the weights' fractions, as in Pillow

  /** For each of `to` pixels the first of `from` pixels that it is made of, and their weights, whole numbers. */
  function weights(from, to) {
    const scale = from / to, reach = Math.max(scale, 1); // the triangle is as wide as a new pixel: antialiased
    return Array.from({ length: to }, (_, n) => {
      const centre = (n + 0.5) * scale;
      const first = Math.max(Math.trunc(centre - reach + 0.5), 0);
      const last = Math.min(Math.trunc(centre + reach + 0.5), from);
      const parts = [];
      for (let at = first; at < last; at++) parts.push(Math.max(1 - Math.abs((at - centre + 0.5) * (1 / reach)), 0));
      const sum = parts.reduce((total, value) => total + value, 0);
      return [first, parts.map((value) => Math.trunc(value / sum * (1 << BITS) + 0.5))];
    });
  }
  /** One pass of the filter: pixels of `step` bytes each to pixels of three, resized along one axis. */
  function pass({ data, step, width, height }, upright, size) {
    const table = weights(upright ? height : width, size), [wide, high] = upright ? [width, size] : [size, height];
    const out = new Uint8Array(3 * wide * high), jump = upright ? step * width : step, half = 1 << (BITS - 1);
    for (let y = 0, to = 0; y < high; y++) {
      for (let x = 0; x < wide; x++) {
        const [first, parts] = table[upright ? y : x];
        let red = half, green = half, blue = half, at = step * (upright ? first * width + x : y * width + first);
        for (let n = 0; n < parts.length; n++, at += jump) {
          red += data[at] * parts[n];
          green += data[at + 1] * parts[n];
          blue += data[at + 2] * parts[n];
        }
        out[to++] = red >> BITS;
        out[to++] = green >> BITS;
        out[to++] = blue >> BITS;
      }
    }
    return { data: out, step: 3, width: wide, height: high };
  }
  /** Pillow's bilinear filter, equal to the last digit: RGBA pixels to (3, size, size) bytes. */
  function resize({ data, width, height }, size) {
    const upright = height > size && height - size > 2 * (width - size); // as Pillow 13 chooses which way comes first
    const small = pass(pass({ data, step: 4, width, height }, upright, size), !upright, size).data;
    return Uint8Array.from(small, (_, n) => small[3 * (n % (size * size)) + Math.floor(n / (size * size))]);
  }

  // ---------------------------------------------------------------- what the network says

  async function explain(network, pixels) {
    const [ort, running] = await session(network), { size, classes, grid: [height, width] } = network;
    const images = new ort.Tensor("uint8", pixels, [1, 3, size, size]);
    const answer = await running.run({ images });
    const logits = [...answer.logits.data], maps = answer.maps.data, cells = height * width;
    const predicted = logits.indexOf(Math.max(...logits)), top = logits[predicted];
    const powers = logits.map((value) => Math.exp(value - top));
    const whole = powers.reduce((sum, value) => sum + value, 0);
    const all = network.prototypes.map(([owners, image, cell, corner], j) => {
      const map = maps.subarray(j * cells, (j + 1) * cells);
      let best = 0;
      for (let at = 1; at < cells; at++) if (map[at] > map[best]) best = at;
      const weight = network.weight[predicted][j], similarity = map[best];
      const at = [Math.floor(best / width), best % width], adds = similarity * weight;
      return { prototype: j, owners, image, source: cell, corner, map, cell: at, similarity, weight, adds };
    });
    const order = [...all].sort((a, b) => b.adds - a.adds); // of equal ones the first
    const ranked = logits.map((logit, k) => ({ name: classes[k], logit, share: powers[k] / whole }));
    return {
      predicted, logit: top, all, order,
      ranked: ranked.sort((a, b) => b.logit - a.logit),
      nearest: answer.distances.data.reduce((least, value) => Math.min(least, value)),
    };
  }

  // ---------------------------------------------------------------- pictures

  function canvas(told, size = 220) {
    return make("canvas", { width: size, height: size, role: "img", "aria-label": told });
  }
  function frame(pen, [row, column], [high, wide], colour, text = "") {
    const size = pen.canvas.width, x = column * wide, y = row * high;
    for (const [style, line] of [["#fff", 5], [colour, 3]]) {
      [pen.strokeStyle, pen.lineWidth] = [style, line];
      pen.strokeRect(x + 2, y + 2, wide - 4, high - 4);
    }
    if (!text) return;
    pen.font = `bold ${size / 15}px system-ui, sans-serif`;
    pen.fillStyle = "#000";
    pen.fillRect(x, y, size / 13, size / 13);
    pen.fillStyle = "#fff";
    pen.fillText(text, x + size / 50, y + size / 16);
  }
  /** The picture as the network saw it. */
  function seen(network, pixels) {
    const { size } = network, small = make("canvas", { width: size, height: size }), pen = small.getContext("2d");
    const image = pen.createImageData(size, size);
    for (let at = 0; at < size * size; at++) {
      image.data.set([pixels[at], pixels[size * size + at], pixels[2 * size * size + at], 255], 4 * at);
    }
    pen.putImageData(image, 0, 0);
    return small;
  }
  function draw(target, image, grey = false) {
    const pen = target.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.filter = grey ? "grayscale(1)" : "none";
    pen.drawImage(image, 0, 0, target.width, target.height);
    pen.filter = "none";
    return pen;
  }
  function patchPicture(network, one) {
    const { sheet, side, columns, size, grid: [height, width] } = network;
    const told = `Prototype ${one.prototype}: a patch of training image ${one.image}, its cell framed`;
    const target = canvas(told), pen = target.getContext("2d"), by = target.width / side;
    pen.imageSmoothingQuality = "high";
    const [row, column] = [Math.floor(one.prototype / columns), one.prototype % columns];
    pen.drawImage(sheet, column * side, row * side, side, side, 0, 0, target.width, target.height);
    const cell = [size / height, size / width]; // pixels of the training image, from which the patch is cut
    const from = [one.source[0] * cell[0] - one.corner[1], one.source[1] * cell[1] - one.corner[0]];
    frame(pen, [from[0] / cell[0], from[1] / cell[1]], [cell[0] * by, cell[1] * by], ROLE);
    return target;
  }
  function heatPicture(network, small, one, text) {
    const target = canvas(`Where the picture is like prototype ${one.prototype}: most at ${place(one.cell)}`);
    const pen = draw(target, small, true), [height, width] = network.grid;
    const low = Math.min(...one.map), span = Math.max(...one.map) - low || 1;
    const map = heatMap(Array.from(one.map, (similarity) => (similarity - low) / span), width, height);
    pen.drawImage(map, 0, 0, width, height, 0, 0, target.width, target.height);
    frame(pen, one.cell, [target.height / height, target.width / width], ROLE, text);
    return target;
  }

  // ---------------------------------------------------------------- the page

  const owner = (network, one) => {
    const [first, ...others] = one.owners.map((k) => network.classes[k]);
    return others.length ? `${first}, merged with some of ${others.join(", ")}` : first;
  };
  /** A prototype's number, which leads to the explorer where that has this very network. */
  function number(network, one) {
    const text = `no. ${one.prototype}`;
    if (!("explored" in chooser.selectedOptions[0].dataset)) return text;
    return make("a", { href: `explorer.html#study=${network.study}&prototype=${one.prototype}` }, text);
  }
  function row(network, small, one, label, largest) {
    return make("li", { "data-prototype": one.prototype },
      make("div", { className: "pair" },
        make("div", {}, patchPicture(network, one), make("small", {}, "training patch")),
        make("div", {}, heatPicture(network, small, one, label), make("small", {}, "in this picture"))),
      make("span", {}, `${label}${label ? ": " : ""}Prototype `, number(network, one),
        ` (${owner(network, one)}): ${place(one.cell)} of the picture looks like ${place(one.source)} of training image ` +
        `${one.image}. Similarity ${one.similarity.toFixed(2)} \u00d7 weight ${fixed(one.weight)} = `,
        make("b", {}, signed(one.adds))),
      bar(one.adds, largest));
  }
  function bar(value, largest) {
    const width = 100 * Math.abs(value) / largest;
    return make("span", { className: "bar", "aria-hidden": "true",
      style: `width: ${width}%; --bar: ${value < 0 ? OTHER : ROLE}` });
  }
  function show(network, pixels, name, said) {
    const small = seen(network, pixels), [best, ...others] = said.ranked, [height, width] = network.grid;
    const chosen = said.order.slice(0, COUNT), rest = said.order.slice(COUNT);
    const gain = rest.reduce((sum, one) => sum + Math.max(one.adds, 0), 0);
    const loss = rest.reduce((sum, one) => sum + Math.min(one.adds, 0), 0);
    const against = rest.filter((one) => one.adds < 0).slice(-AGAINST).reverse();
    const largest = Math.max(gain, -loss, ...chosen.map((one) => Math.abs(one.adds)), 1e-9);
    const whole = canvas(`${name} as the network sees it, the cells of the prototypes that count most numbered`, 360);
    const pen = draw(whole, small);
    [...chosen.entries()].reverse().forEach(([rank, one]) =>
      frame(pen, one.cell, [whole.height / height, whole.width / width], ROLE, String(rank + 1)));
    const warning = said.nearest <= network.limit + ROUNDING ? null : make("p", { className: "note", role: "note" },
      "Nothing in this picture resembles any prototype as closely as usual: the nearest is at a squared distance of " +
      `${said.nearest.toPrecision(3)}, and of the network's own test images 95\u00a0% come nearer than ` +
      `${network.limit.toPrecision(3)}. It may show something else: do not rely on this explanation.`);
    const line = (text, value) => make("li", {}, text, make("b", {}, signed(value)), bar(value, largest));
    detail.replaceChildren(
      make("h2", { tabIndex: -1 }, `${name}: ${best.name}, ${percent(best.share)}`),
      warning ?? "",
      make("div", { className: "answer" },
        make("div", {}, whole, make("small", {}, `as the network sees it, ${network.size} \u00d7 ${network.size} pixels`)),
        make("div", {},
          make("p", {}, `The network takes the picture for ${best.name}: score ${fixed(best.logit)}, probability ` +
            `${percent(best.share)}. Next: ` +
            others.slice(0, 2).map((one) => `${one.name} (${fixed(one.logit)}, ${percent(one.share)})`).join("; ") + "."),
          make("h3", {}, `How the score of ${best.name} adds up`),
          make("ol", { "data-part": "sum" },
            chosen.map((one, rank) => line([`${rank + 1}: prototype `, number(network, one), " "], one.adds)),
            line(`${rest.length} others, for: `, gain),
            line(`${rest.length} others, against: `, loss),
            make("li", { "data-part": "score" }, "Sum, the score: ", make("b", {}, fixed(best.logit)))))),
      make("h3", {}, `What counts most for ${best.name}`),
      make("ol", { className: "each", "data-part": "for" },
        chosen.map((one, rank) => row(network, small, one, String(rank + 1), largest))),
      ...(against.length ? [make("h3", {}, `What speaks against ${best.name}`),
        make("ol", { className: "each", "data-part": "against" },
          against.map((one) => row(network, small, one, "", largest)))] : []));
    detail.dataset.shown = name;
    detail.pixels = pixels; // for who wants to compare
    say(`${name}: ${best.name}, ${percent(best.share)}.${warning ? ` ${warning.textContent}` : ""}`);
  }

  async function answer(blob, name) {
    const turn = ++asked;
    try {
      say(runtime ? "The network looks at the picture \u2026" : "Loading the network, some 14\u00a0MB, once \u2026", "busy");
      const network = await facts(chooser.value);
      const pixels = resize(await decode(blob, name), network.size);
      const said = await explain(network, pixels);
      if (turn === asked) show(network, pixels, name, said);
    } catch (error) {
      if (turn === asked) complain(error);
    }
  }
  function complain(error) {
    detail.replaceChildren();
    delete detail.dataset.shown;
    say(error instanceof Amiss ? error.message
      : `Something went wrong in this page (${error.message}); load it again.`, "amiss");
  }
  /** A network has been chosen: what it is, and what there is to click on. */
  async function choose() {
    asked++;
    detail.replaceChildren();
    delete detail.dataset.shown;
    say("");
    try {
      const network = await facts(chooser.value);
      part("cropped").hidden = !network.cropped;
      part("about").textContent = `${network.network}, the student of study \u201c${network.study}\u201d: ` +
        `${network.classes.length} classes, ${network.prototypes.length} prototypes, ` +
        `${Math.round(network.parameters / 1000)} thousand numbers, right in ${network.right} of ${network.tested} test images.`;
      part("examples").replaceChildren(...network.examples.map(({ file, shows }) => {
        const source = `${network.folder}/${file}`;
        const act = async () => get(source).then((found) => found.blob()).then((blob) => answer(blob, shows), complain);
        return make("button", { type: "button", onclick: act }, make("img", { src: source, alt: "" }), shows);
      }));
      root.dataset.ready = chooser.value;
    } catch (error) {
      complain(error);
    }
  }

  if (location.protocol === "file:") {
    say("This page was opened from the disk, whence a browser may not load a network: serve the book with " +
      "\u201cpython -m http.server 8000 --directory book/_build/html\u201d and open http://localhost:8000/try.html.", "amiss");
    return;
  }
  if (typeof WebAssembly !== "object") {
    say("This browser has no WebAssembly, or it is switched off, and the network runs in nothing else.", "amiss");
    return;
  }
  input.addEventListener("change", () => {
    if (input.files.length) answer(input.files[0], input.files[0].name);
  });
  input.addEventListener("click", () => { input.value = ""; }); // so that the same file may be chosen again
  const drop = part("drop");
  root.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  root.addEventListener("dragleave", () => drop.classList.remove("over"));
  root.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const [file] = event.dataTransfer.files;
    if (file) answer(file, file.name);
    else say("What was dropped is no file; drop a picture from your disk, or choose one.", "amiss");
  });
  chooser.addEventListener("change", choose);
  part("body").hidden = false;
  choose();
})();
