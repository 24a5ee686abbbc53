// The prototype explorer: everything on the page follows from the address after "#", which every choice changes.
// A study's numbers are a script that calls p2pExplorer (pages opened from the disk may not fetch); what is in them is
// told in p2p/evaluation/explorer.py. Pictures are painted when they come into view, from sheets loaded then.
(() => {
  "use strict";
  const ROLES = { teacher: "#0072B2", student: "#009E73", baseline: "#E69F00" };
  const CHUNK = 60; // entries of the list at a time
  const LONGEST = 4 * CHUNK; // of the list, when it grows by walking along it: a walk may lead past thousands
  const { make, percent, signed, heatMap } = p2pDrawing;
  const root = document.getElementById("explorer");
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const controls = Object.fromEntries(["study", "view", "class", "on", "order"].map((name) => [name, part(name)]));
  const list = part("list"), detail = part("detail"), status = part("status");
  const loaded = {}, waiting = {}; // data by study
  let shown = ""; // what the list shows, so that it is only made anew when that changes
  let study = null; // data of the study on the page

  // ---------------------------------------------------------------- small helpers

  const bytes = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  const capital = (text) => text[0].toUpperCase() + text.slice(1);
  const className = (k) => study.classes[k];
  const partName = (q) => (q < 0 ? "no part" : study.parts[q]);
  const numbers = (count) => Array.from({ length: count }, (_, n) => n);

  // ---------------------------------------------------------------- the address

  function read() {
    const given = new URLSearchParams(location.hash.slice(1));
    const image = given.get("image"), prototype = given.get("prototype");
    const view = given.get("view") || (image !== null ? "images" : "prototypes");
    return {
      study: given.get("study") || controls.study.options[0].value,
      view: view === "images" ? "images" : "prototypes",
      class: given.get("class") || "",
      on: given.get("on") || "",
      order: given.get("order") || "",
      item: view === "images" ? image : prototype,
    };
  }
  function write(state) {
    const given = new URLSearchParams({ study: state.study });
    if (state.view === "images") given.set("view", "images");
    for (const key of ["class", "on", "order"]) if (state[key]) given.set(key, state[key]);
    const named = state.view === "images" && typeof state.item === "number"; // an image goes by its name
    if (state.item !== null) {
      const item = named ? study.names[study.first_test + state.item] : state.item;
      given.set(state.view === "images" ? "image" : "prototype", item);
    }
    return `#${given}`;
  }
  const go = (change) => { location.hash = write({ ...read(), ...change }); };

  // ---------------------------------------------------------------- pictures

  const sheetOf = (n) => (study.loading[n] ||= new Promise((done, fail) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => fail(new Error(`sheet ${n}`));
    image.src = `studies/${study.study}/explorer/sheet-${n}.webp`;
  }));
  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) { watch.unobserve(target); target.paint(); }
    }
  }, { rootMargin: "300px" });

  /**
   * A picture of the pool.
   * at: its number there; told: what it shows, in words; heat: bytes of the grid's cells; frames: [cell, colour, text];
   * around: the cell of whose surroundings, a quarter of the image, alone is shown.
   */
  function picture(at, told, { heat = null, frames = [], around = null, size = 220 } = {}) {
    const canvas = make("canvas", { width: size, height: size, role: "img", "aria-label": told });
    const of = study;
    canvas.paint = () => sheetOf(Math.floor(at / of.columns ** 2)).then((sheet) => {
      if (of === study) paint(canvas, sheet, at % of.columns ** 2, heat, frames, around);
    }, () => { canvas.replaceWith(make("span", {}, `[the picture is missing: ${told}]`)); });
    watch.observe(canvas);
    return canvas;
  }
  function paint(canvas, sheet, tile, heat, frames, around) {
    const pen = canvas.getContext("2d"), size = canvas.width, [height, width] = study.grid, side = study.tile;
    let x = 0, y = 0, span = 1; // the part of the image that is shown, in shares of its side
    if (around !== null) {
      span = 0.5;
      const inside = (middle) => Math.min(Math.max(middle - span / 2, 0), 1 - span);
      [x, y] = [inside(((around % width) + 0.5) / width), inside((Math.floor(around / width) + 0.5) / height)];
    }
    const left = (tile % study.columns + x) * side, top = (Math.floor(tile / study.columns) + y) * side;
    pen.imageSmoothingQuality = "high";
    pen.filter = heat ? "grayscale(1)" : "none";
    pen.drawImage(sheet, left, top, span * side, span * side, 0, 0, size, size);
    pen.filter = "none";
    if (heat) pen.drawImage(heatMap(Array.from(heat, (byte) => byte / 255), width, height), 0, 0, width, height, 0, 0, size, size);
    canvas.dataset.painted = "yes";
    for (const [cell, colour, text, inset] of frames) {
      const [column, row] = [cell % width, Math.floor(cell / width)];
      const box = [(column / width - x) / span * size, (row / height - y) / span * size];
      const sides = [size / width / span, size / height / span], by = 2 + (inset || 0) * 5;
      const edge = [box[0] + by, box[1] + by, sides[0] - 2 * by, sides[1] - 2 * by];
      for (const [style, line] of [["#fff", 5], [colour, 3]]) {
        [pen.strokeStyle, pen.lineWidth] = [style, line];
        pen.strokeRect(...edge);
      }
      if (text) {
        pen.font = `bold ${size / 13}px system-ui, sans-serif`;
        pen.fillStyle = colour;
        pen.fillRect(box[0], box[1], size / 11, size / 11);
        pen.fillStyle = colour === ROLES.baseline ? "#000" : "#fff";
        pen.fillText(text, box[0] + size / 55, box[1] + size / 14);
      }
    }
  }
  const cellsOf = (all, n) => all.subarray(n * study.grid[0] * study.grid[1], (n + 1) * study.grid[0] * study.grid[1]);

  // ---------------------------------------------------------------- what is in the list

  const top = (role, image) => { // the prototypes that count most in an image
    const row = study.networks[role].tops[image];
    return numbers(row.length / 3).map((n) => ({ prototype: row[3 * n], adds: row[3 * n + 1], cell: row[3 * n + 2] }));
  };
  const sharedPlaces = (image) => {
    const cells = new Set(top("student", image).map((one) => one.cell));
    return top("teacher", image).filter((one) => cells.has(one.cell)).length;
  };
  const decideAlike = (image) => study.networks.teacher.predicted[image] === study.networks.student.predicted[image];

  /** Numbers of the prototypes or images that the choices leave, in order. */
  function chosen(state) {
    const teacher = study.networks.teacher, ofImages = state.view === "images";
    const label = ofImages ? (n) => study.labels[study.first_test + n] : (j) => teacher.own[j];
    let items = numbers(ofImages ? study.labels.length - study.first_test : teacher.own.length);
    if (state.class) items = items.filter((n) => label(n) === Number(state.class));
    if (state.on && !ofImages) items = items.filter((j) => teacher.part[j] === Number(state.on));
    if (state.order === "differ") {
      const alike = ofImages ? (n) => 100 * decideAlike(n) + sharedPlaces(n) : (j) => study.pairs.student.same_own[j];
      const value = new Map(items.map((n) => [n, alike(n)]));
      items.sort((a, b) => value.get(a) - value.get(b) || a - b);
    }
    return items;
  }
  function entry(state, n) {
    const teacher = study.networks.teacher;
    const link = make("a", { href: write({ ...state, item: n }), "data-item": n });
    if (state.view === "images") {
      const places = `${sharedPlaces(n)} of ${top("teacher", n).length} places shared`;
      const same = decideAlike(n) ? places : "decide differently";
      link.append(picture(study.first_test + n, "", { size: 110 }), `${className(study.labels[study.first_test + n])}`);
      link.append(make("small", {}, same));
    } else {
      const cell = teacher.cell[n];
      link.append(picture(teacher.source[n], "", { around: cell, frames: [[cell, ROLES.teacher]], size: 110 }));
      link.append(`no. ${n}, ${className(teacher.own[n])}`);
      link.append(make("small", {}, `student here too: ${percent(study.pairs.student.same_own[n])}`));
    }
    link.firstChild.setAttribute("aria-hidden", "true");
    return make("li", {}, link);
  }

  function showList(state) {
    const items = chosen(state);
    let from = 0, upTo = 0; // of the items, those that are in the list
    const button = (text, before) => make("li", { "data-more": "" },
      make("button", { type: "button", onclick: () => add(before, true) }, text));
    const add = (before, focus) => {
      const [start, end] = before ? [from - CHUNK, from] : [upTo, Math.min(upTo + CHUNK, items.length)];
      const next = items.slice(start, end).map((n) => entry(state, n));
      for (const old of list.querySelectorAll("[data-more]")) old.remove();
      list[before ? "prepend" : "append"](...next);
      [from, upTo] = before ? [start, upTo] : [from, end];
      if (from > 0) list.prepend(button(`${CHUNK} before`, true));
      const left = Math.min(CHUNK, items.length - upTo);
      if (left > 0) list.append(button(`${left} more of ${items.length}`, false));
      if (focus) next.at(before ? -1 : 0).querySelector("a").focus();
    };
    list.items = items;
    list.reach = (at) => { // so that an entry is there, which may be far down
      if (at < from || at >= upTo + CHUNK || (at >= upTo && upTo - from >= LONGEST)) {
        from = upTo = Math.floor(at / CHUNK) * CHUNK;
        list.replaceChildren();
      }
      if (at >= upTo) add(false);
    };
    list.replaceChildren();
    const what = state.view === "images" ? "test image" : "prototype";
    part("count").textContent = items.length
      ? `${items.length} ${what}${items.length === 1 ? "" : "s"}${state.view === "images" ? "" : " of the teacher"}.`
      : `No ${what} fits these choices; choose another class${study.parts.length ? " or part" : ""}.`;
  }

  // ---------------------------------------------------------------- one prototype

  const TITLES = { teacher: "Teacher", student: "Student: same number", baseline: "Baseline: its partner" };

  function prototypeCard(role, n, facts) {
    const network = study.networks[role], cell = network.cell[n], at = network.source[n];
    const frames = [[cell, ROLES[role]]], of = `${study.names[at]}, ${className(study.labels[at])}`;
    const words = `${role}'s prototype ${n}: a patch of training image ${of}`;
    const heat = cellsOf(network.maps0, n);
    const rows = [["Training image", of]];
    if (study.parts.length) {
      rows.push(["The patch shows", partName(network.part[n])]);
      const finds = network.lies[n].map(([q, share]) => `${partName(q)} ${percent(share)}`).join(", ");
      rows.push([`Finds, in test images of ${className(network.own[n])}`, finds]);
    }
    return make("section", { className: "card-of", style: `--role: ${ROLES[role]}` },
      make("h3", {}, TITLES[role]), make("p", { className: "number" }, `no. ${n}`),
      make("div", { className: "pair" },
        picture(at, `${words}, enlarged`, { around: cell, frames }),
        picture(at, `${words}: the whole image, bright where it is like the patch`, { heat, frames })),
      make("dl", {}, [...rows, ...facts].flatMap(([term, text]) => [make("dt", {}, term), make("dd", {}, text)])));
  }

  function showPrototype(state, n) {
    const { student, baseline } = study.pairs, teacher = study.networks.teacher, partner = baseline.partner[n];
    const name = className(teacher.own[n]);
    const meets = (pairs, kind) => [["On the teacher's place", `in ${percent(pairs[kind][n])} of all test images ` +
      `(chance ${percent(pairs[`${kind}_chance`][n])}), in ${percent(pairs[`${kind}_own`][n])} of those of ${name}`]];
    const facts = { student: meets(student, "same"), baseline: meets(baseline, "matched") };
    const other = student.partner[n];
    if (other !== n) {
      facts.student.push(["Its partner by place", `no. ${other}, in ${percent(student.matched[n])} of all`]);
    }
    const near = study.nearest[n], count = near.length / 5;
    const tiles = numbers(count).map((i) => {
      const [image, similarity, ...cells] = near.slice(5 * i, 5 * i + 5), at = study.first_test + image;
      const roles = Object.keys(ROLES);
      const before = (r) => cells.slice(0, r).filter((cell) => cell === cells[r]).length; // frames on one cell nest
      const frames = roles.map((role, r) => [cells[r], ROLES[role], "", before(r)]);
      const same = roles.slice(1).filter((_, r) => cells[r + 1] === cells[0]);
      const said = same.length ? `${same.join(" and ")} here too` : "the others elsewhere";
      const told = `test image ${study.names[at]}, ${className(study.labels[at])}: ${said}`;
      const href = write({ ...state, view: "images", class: "", on: "", order: "", item: image });
      return make("li", {}, make("a", { href }, picture(at, told, { frames, size: 180 })),
        make("small", {}, `${className(study.labels[at])}, similarity ${similarity}: ${said}`));
    });
    const legend = Object.entries({ teacher: "teacher's place", student: "student's", baseline: "baseline's" });
    detail.replaceChildren(
      heading(`Prototype ${n} of ${name}`, state, n),
      make("p", {}, `In test images of ${name}, the student's prototype of this number is found at the teacher's ` +
        `place in ${percent(student.same_own[n])}, the baseline's partner in ${percent(baseline.matched_own[n])}.`),
      make("div", { className: "cards-of" }, prototypeCard("teacher", n, []),
        prototypeCard("student", n, facts.student), prototypeCard("baseline", partner, facts.baseline)),
      make("h3", {}, "Nearest test images"),
      make("p", {}, "The test images most like the teacher's prototype, each with the place where it is found: ",
        legend.map(([role, text]) => make("span", { className: "key", style: `--role: ${ROLES[role]}` }, text))),
      make("ul", { className: "tiles" }, tiles));
    return `Prototype ${n} of ${name}.`;
  }

  function heading(text, state, n) {
    const at = list.items.indexOf(n);
    const step = (by, label) => make("button", { type: "button", disabled: at < 0 || list.items[at + by] === undefined,
      onclick: () => go({ item: list.items[at + by] }), "data-step": by }, label);
    return make("div", { className: "heading" }, make("h2", { tabIndex: -1 }, text),
      make("span", {}, step(-1, "\u2190 Previous"), " ", step(1, "Next \u2192")));
  }

  // ---------------------------------------------------------------- one test image

  function networkCard(state, role, image, teachers) {
    const network = study.networks[role], at = study.first_test + image, predicted = network.predicted[image];
    const tops = top(role, image), [gain, loss, logit] = network.sums[image];
    const largest = Math.max(...tops.map((one) => Math.abs(one.adds)), gain, -loss, 1e-9);
    const bar = (value) => make("span", { className: "bar", "aria-hidden": "true",
      style: `width: ${100 * Math.abs(value) / largest}%; --role: ${value < 0 ? "#D55E00" : ROLES[role]}` });
    const frames = tops.map((one, rank) => [one.cell, ROLES[role], String(rank + 1)]).reverse();
    const [second, less] = network.next[image];
    const right = predicted === study.labels[at] ? "right" : "wrong";
    const rows = tops.map((one, rank) => {
      const source = network.source[one.prototype], cell = network.cell[one.prototype];
      const shows = study.parts.length ? network.part[one.prototype] : -1, of = shows >= 0 ? `, ${partName(shows)}` : "";
      const number = role === "baseline" ? `no. ${one.prototype}` : make("a", { href: write({ ...state, view: "prototypes",
        class: "", on: "", order: "", item: one.prototype }) }, `no. ${one.prototype}`);
      const shared = role !== "teacher" && teachers.has(one.cell);
      const also = shared ? make("small", {}, "a deciding place of the teacher's, too") : "";
      return make("li", {},
        make("div", { className: "pair" },
          picture(source, `${role}'s prototype ${one.prototype}, its training patch`,
            { around: cell, frames: [[cell, ROLES[role]]], size: 110 }),
          picture(at, "where the image is like it", { heat: cellsOf(network.maps1, image * tops.length + rank),
            frames: [[one.cell, ROLES[role]]], size: 110 })),
        make("span", {}, `${rank + 1}: `, number, ` (${className(network.own[one.prototype])}${of}) `,
          make("b", {}, signed(one.adds))), bar(one.adds), also);
    });
    const others = network.own.length - tops.length;
    return make("section", { className: "card-of", style: `--role: ${ROLES[role]}` },
      make("h3", {}, capital(role)),
      make("p", {}, "takes it for ", make("b", {}, className(predicted)),
        ` (${right}), ${percent(network.sure[image])} sure`),
      picture(at, `the image with the ${tops.length} places that count most for the ${role}`, { frames }),
      make("ol", {}, rows,
        make("li", {}, `${others} others, for: `, make("b", {}, signed(gain)), bar(gain)),
        make("li", {}, `${others} others, against: `, make("b", {}, signed(loss)), bar(loss)),
        make("li", { className: "total" }, `Sum, the score of ${className(predicted)}: `, make("b", {}, signed(logit)),
          make("small", {}, `next: ${className(second)}, ${signed(less)}`))));
  }

  function showImage(state, n) {
    const at = study.first_test + n, places = sharedPlaces(n), tops = top("teacher", n);
    const cells = new Set(tops.map((one) => one.cell)), mine = new Set(tops.map((one) => one.prototype));
    const both = top("student", n).filter((one) => mine.has(one.prototype)).length;
    const verdict = `Teacher and student ${decideAlike(n) ? "take it for the same class" : "decide differently"}`;
    detail.replaceChildren(
      heading(`Test image ${study.names[at]}, ${className(study.labels[at])}`, state, n),
      make("p", {}, `${verdict}. Of the ${tops.length} prototypes that count most for the teacher, ${both} count most for ` +
        `the student by number, and at ${places} of their places the student has one of its own ${tops.length}. ` +
        "A prototype adds its similarity times its weight; all of them together are the score."),
      make("div", { className: "cards-of" }, Object.keys(ROLES).map((role) => networkCard(state, role, n, cells))));
    return `Test image ${study.names[at]}, ${className(study.labels[at])}. ${verdict}.`;
  }

  // ---------------------------------------------------------------- the page

  function fill(select, options, value) {
    if (select.of !== study) select.replaceChildren(...options.map(([key, text]) => make("option", { value: key }, text)));
    select.of = study; // hundreds of classes are not made anew at every step
    select.value = options.some(([key]) => key === value) ? value : options[0][0];
  }
  function networksTold() {
    const { teacher, student, baseline } = study.networks;
    const one = (role, network) => `${role} ${network.network} (${Math.round(network.parameters / 1000)} thousand ` +
      `numbers, right in ${percent(network.right / study.tested)} of ${study.tested} test images)`;
    const each = [one("teacher", teacher), one("student", student), one("baseline", baseline)];
    return `Seed ${study.seed}: ${each.join(", ")}. ` +
      `${teacher.packed ? "The packed networks of this study. " : ""}Written ${study.date}, commit ${study.commit}.`;
  }

  /** What a screen reader is told of a change; everybody, where something is amiss. */
  function say(text, toAll) {
    status.textContent = text;
    status.classList.toggle("visually-hidden", !toAll);
  }

  function render() {
    const state = read();
    controls.study.value = state.study;
    if (!loaded[state.study]) return load(state.study);
    study = loaded[state.study];
    const ofImages = state.view === "images";
    fill(controls.class, [["", "all classes"], ...study.classes.map((name, k) => [String(k), name])], state.class);
    const parts = study.parts.map((name, q) => [String(q), name]);
    fill(controls.on, [["", "any part"], ...parts, ["-1", "no part"]], state.on);
    controls.on.closest("label").hidden = ofImages || !study.parts.length;
    controls.view.value = state.view;
    controls.order.value = state.order === "differ" ? "differ" : "";
    for (const key of ["class", "on", "order"]) state[key] = controls[key].value; // what is not there is not chosen
    if (ofImages || !study.parts.length) state.on = "";
    const key = write({ ...state, item: null });
    if (key !== shown) showList(state);
    shown = key;
    const count = ofImages ? study.labels.length - study.first_test : study.networks.teacher.own.length;
    const given = ofImages ? study.names.indexOf(state.item, study.first_test) - study.first_test
      : /^\d+$/.test(state.item) ? Number(state.item) : -1;
    const known = given >= 0 && given < count;
    const item = known ? given : list.items[0];
    const wrong = state.item !== null && !known;
    const said = item === undefined ? "" : (ofImages ? showImage : showPrototype)(state, item);
    if (item === undefined) detail.replaceChildren();
    const what = ofImages ? "test image" : "prototype";
    say(wrong ? `There is no ${what} \u201c${state.item}\u201d here. ${said}` : said, wrong);
    list.reach(Math.max(list.items.indexOf(item), 0));
    for (const link of list.querySelectorAll("a")) {
      if (Number(link.dataset.item) === item) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
      if (Number(link.dataset.item) === item) keepInView(link);
    }
    part("networks").textContent = networksTold();
    root.dataset.ready = location.hash;
  }
  function keepInView(link) { // within the list alone: the page stays where it is
    const box = link.getBoundingClientRect(), frame = list.getBoundingClientRect();
    if (box.left < frame.left || box.right > frame.right) list.scrollLeft += box.left - frame.left - frame.width / 3;
  }
  function load(name) {
    if (waiting[name]) return;
    waiting[name] = true;
    say("Loading \u2026", true);
    const known = [...controls.study.options].some((option) => option.value === name);
    const script = make("script", { src: `studies/${encodeURIComponent(name)}/explorer/data.js` });
    script.onerror = () => missing(name);
    if (known) document.head.append(script);
    else missing(name);
  }
  function missing(name) {
    waiting[name] = false;
    shown = "";
    list.replaceChildren();
    detail.replaceChildren();
    part("count").textContent = "";
    say(`The study \u201c${name}\u201d has no data for the explorer in this book; choose another one above.`, true);
    root.dataset.ready = location.hash;
  }
  window.p2pExplorer = (data) => {
    for (const network of Object.values(data.networks)) {
      network.maps0 = bytes(network.heat);
      network.maps1 = bytes(network.maps);
    }
    loaded[data.study] = { ...data, loading: {} };
    waiting[data.study] = false;
    render();
  };
  for (const [name, select] of Object.entries(controls)) {
    select.addEventListener("change", () => {
      const reset = name === "study" ? { class: "", on: "", order: "" } : name === "view" ? { on: "" } : {};
      go({ ...reset, [name]: select.value, item: null });
    });
  }
  root.addEventListener("keydown", (event) => { // left and right: the neighbours, wherever one is but in a menu
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.altKey || event.ctrlKey || event.metaKey || event.target.closest("select")) return;
    const button = detail.querySelector(`[data-step="${by}"]`);
    if (!button || button.disabled) return;
    event.preventDefault();
    const elsewhere = event.target.closest("[data-step]") ? `[data-step="${by}"]` : "h2";
    const back = event.target.closest("[data-item]") ? "" : elsewhere;
    button.click();
    window.addEventListener("hashchange", () => {
      const target = back ? detail.querySelector(back) : list.querySelector('[aria-current="true"]');
      (target && !target.disabled ? target : detail.querySelector("h2")).focus({ preventScroll: true });
    }, { once: true });
  });
  detail.addEventListener("click", (event) => { // the buttons are made anew: the focus goes on to the same one
    const by = event.target.closest("[data-step]")?.dataset.step;
    if (by) window.addEventListener("hashchange", () => {
      const button = detail.querySelector(`[data-step="${by}"]`);
      (button && !button.disabled ? button : detail.querySelector("h2")).focus({ preventScroll: true });
    }, { once: true });
  });
  window.addEventListener("hashchange", render);
  part("body").hidden = false;
  render();
})();
