"use strict";

/** Colour photos by what is known of them, and light a range or some values. */
tessera.colour = (() => {
  const map = tessera.data.map();
  // Viridis, whose steps also those see who see few colours.
  const SCALE = ["#440154", "#3b528b", "#21918c", "#5ec962", "#fde725"].map(tessera.rgb);
  // Okabe and Ito's, then quiet ones; what is not among the first values is grey.
  const SET = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a90a", "#7b61b3", "#8c564b", "#5f8f3e"];
  const GREY = 0x9a9a98;
  const BARS = 48, STEPS = 200;
  const MOST_VALUES = 300; // in the list
  /** @type {Record<string, string>} */
  const NAMES = { none: "No colour", score: "Score", label: "Label", folder: "Folder", date: "Date taken", copies: "Nearly the same, copies", changes: "New and moved photos" };
  const HIGHEST = 10;
  let by = "none";
  /** @type {Ranged | Listed | null} */
  let shown = null;
  /** The shares of the range that are lit. */
  let range = [0, 1];
  /** @type {Set<number>} */
  const values = new Set();

  /** What photos can be coloured by. @type {Record<string, () => Promise<Ranged | Listed>>} */
  const kinds = {
    async score() {
      const numbers = Float64Array.from({ length: map.photos }, (_, photo) => tessera.data.scoreOf(photo) ?? NaN);
      return ranged(numbers, (score) => score.toFixed(2), 0, 1, true);
    },
    async label() {
      return listed(map.labelCodes, ["no label", ...(map.labels || [])], "label");
    },
    async folder() {
      const { folders, folderCodes } = await tessera.data.load("facts");
      return listed(folderCodes, shortened(folders), "folder");
    },
    async date() {
      const { taken } = await tessera.data.load("facts");
      return ranged(taken, (seconds) => tessera.date(seconds, true));
    },
    async copies() {
      const { groups, copies } = await tessera.data.load("facts");
      const codes = Uint8Array.from(groups, (group, photo) => (group ? 1 : copies[photo] ? 2 : 0));
      const found = listed(codes, ["single photos", "nearly the same as another", "several files with the same content"], "kind");
      // Those that are nearly the same are walked one after the other.
      found.sorting = (one, other) => groups[one] - groups[other] || one - other;
      // Then there is nothing to tell apart.
      if (codes.every((code) => !code)) return { ...found, isEmpty: true, order: [], colours: null };
      return found;
    },
    async changes() {
      return listed(await tessera.changes.codes(), ["as before", "new since the map before", "moved since the map before"], "change");
    },
  };

  /**
   * Numbers, coloured along a scale.
   * @param {Float64Array} numbers of photos; not a number for those that have none
   * @param {(number: number) => string} inWords
   * @param {number} least @param {number} most the ends of the scale, if photos do not go beyond them
   * @returns {Ranged}
   */
  function ranged(numbers, inWords, least = Infinity, most = -Infinity, isHighestFirst = false) {
    const known = numbers.filter((number) => !Number.isNaN(number));
    for (const number of known) [least, most] = [Math.min(least, number), Math.max(most, number)];
    const share = Float64Array.from(numbers, (number) => (number - least) / (most - least || 1));
    const bars = new Uint32Array(BARS);
    for (const one of share) if (!Number.isNaN(one)) bars[Math.min(BARS - 1, Math.floor(one * BARS))]++;
    const colours = Int32Array.from(share, (one) => (Number.isNaN(one) ? -1 : along(one)));
    const order = isHighestFirst ? -1 : 1;
    /** @type {Sorting} */
    const sorting = (one, other) => order * (numbers[one] - numbers[other]) || one - other;
    return {
      kind: "range", share, bars, colours, sorting, known: known.length, isHighestFirst,
      inWords: (part) => inWords(least + part * (most - least)),
    };
  }

  /**
   * Texts, the most frequent first, with a colour each.
   * @param {Numbers} codes of photos @param {string[]} names of the codes @param {string} what they are
   * @returns {Listed}
   */
  function listed(codes, names, what) {
    const many = new Uint32Array(names.length);
    for (const code of codes) many[code]++;
    const order = [...many.keys()].filter((code) => many[code]).sort((one, other) => many[other] - many[one] || one - other);
    const colourOf = new Int32Array(names.length).fill(GREY);
    order.slice(0, SET.length).forEach((code, place) => { colourOf[code] = parseInt(SET[place].slice(1), 16); });
    return { kind: "values", what, codes, names, many, order, colourOf, colours: Int32Array.from(codes, (code) => colourOf[code]), sorting: null };
  }

  /** The colour of a place on the scale. @param {number} share of the way along it @returns {number} 0xRRGGBB */
  function along(share) {
    const place = Math.min(0.9999, Math.max(0, share)) * (SCALE.length - 1), low = Math.floor(place), part = place - low;
    const [red, green, blue] = SCALE[low].map((one, i) => Math.round(one + part * (SCALE[low + 1][i] - one)));
    return (red << 16) | (green << 8) | blue;
  }

  /** Folders without what all of them begin with. @param {string[]} folders */
  function shortened(folders) {
    const split = folders.map((folder) => folder.split("/"));
    let common = 0;
    while (split.every((parts) => parts.length > common + 1 && parts[common] === split[0][common])) common++;
    return split.map((parts) => parts.slice(common).join("/") || "/");
  }

  /**
   * Colour by something, and light a part of it.
   * @param {string} what @param {{range?: number[], values?: number[]}} [only]
   */
  async function colour(what, only = {}) {
    by = kinds[what] && options().includes(what) ? what : "none";
    tessera.byId("colour-by").value = by;
    const wanted = by;
    const found = by === "none" ? null : await kinds[by]();
    if (wanted !== by) return;
    shown = found;
    range = only.range || [0, 1];
    values.clear();
    for (const value of only.values || []) values.add(value);
    tessera.state.colour(shown && shown.colours, shown && shown.sorting);
    drawRange();
    drawValues();
    filter();
  }

  /** Light what is chosen of the range or the values. */
  function filter() {
    const found = shown;
    const isAll = !found || (found.kind === "range" ? range[0] <= 0 && range[1] >= 1 : !values.size);
    describe(isAll);
    if (!found || isAll) tessera.state.light("colour", null);
    else {
      const lit = found.kind === "range"
        ? Uint8Array.from(found.share, (share) => Number(share >= range[0] - 1e-9 && share <= range[1] + 1e-9))
        : Uint8Array.from(found.codes, (code) => Number(values.has(code)));
      tessera.state.light("colour", { lit, words: inWords(found), clear: () => colour(by) });
    }
    tessera.emit("filter");
  }

  /** What is lit. @param {Ranged | Listed} found */
  function inWords(found) {
    if (found.kind === "range") return `have a ${NAMES[by].toLowerCase()} from ${found.inWords(range[0])} to ${found.inWords(range[1])}`;
    return `have the ${found.what} ${[...values].map((value) => found.names[value]).join(" or ")}`;
  }

  /** @param {boolean} isAll whether no part is chosen */
  function describe(isAll) {
    const text = tessera.byId("colour-text");
    if (!shown) text.textContent = map.scores ? "" : `No scores yet. “tessera check ${map.title} --run” scores the photos and examines the highest, and “tessera view ${map.title}” shows it here.`;
    else if (shown.kind === "values" && shown.isEmpty) text.textContent = "No photo here is nearly the same as another, or is there twice.";
    else if (shown.kind === "values") text.textContent = isAll ? "Choose one or more to light them alone." : "";
    else if (shown.known < map.photos) text.textContent = `Known of ${tessera.count(shown.known)} of ${tessera.count(map.photos)} photos.`;
    else text.textContent = isAll ? "Move an end to light a part." : "";
  }

  function drawRange() {
    const box = tessera.byId("colour-range"), found = shown;
    box.hidden = !found || found.kind !== "range";
    if (!found || found.kind !== "range") return box.replaceChildren();
    const canvas = tessera.element("canvas", { class: "histogram", width: 568, height: 144, "aria-hidden": "true" });
    const ends = ["Lowest", "Highest"].map((name, end) => {
      const value = tessera.element("span", {});
      const input = tessera.element("input", { type: "range", min: 0, max: STEPS, step: 1, "data-end": end });
      input.value = Math.round(range[end] * STEPS);
      const write = () => {
        value.textContent = `${name} ${found.inWords(range[end])}`;
        input.setAttribute("aria-valuetext", found.inWords(range[end]));
      };
      write();
      input.addEventListener("input", () => {
        const share = Number(input.value) / STEPS;
        range[end] = end ? Math.max(share, range[0]) : Math.min(share, range[1]);
        input.value = Math.round(range[end] * STEPS);
        write();
        drawBars(canvas, found);
        filter();
      });
      return tessera.element("label", {}, value, input);
    });
    const first = found.isHighestFirst && found.known > HIGHEST
      ? tessera.element("button", { type: "button", text: `The ${HIGHEST} highest`, onclick: () => lightHighest(found) })
      : null;
    box.replaceChildren(canvas, tessera.element("div", { class: "ends" }, ...ends), ...(first ? [tessera.element("div", { class: "row" }, first)] : []));
    drawBars(canvas, found);
  }

  /** @param {Ranged} found */
  function lightHighest(found) {
    const known = found.share.filter((share) => !Number.isNaN(share)).sort();
    range = [known[known.length - HIGHEST], 1];
    drawRange();
    filter();
  }

  /** @param {HTMLCanvasElement} canvas @param {Ranged} found */
  function drawBars(canvas, { bars }) {
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const most = Math.max(...bars, 1), wide = canvas.width / BARS;
    context.clearRect(0, 0, canvas.width, canvas.height);
    bars.forEach((many, bar) => {
      const share = (bar + 0.5) / BARS, isIn = share >= range[0] - 0.5 / BARS && share <= range[1] + 0.5 / BARS;
      // By its root: a few photos among many thousands can be seen.
      const high = many ? Math.max(4, Math.sqrt(many / most) * (canvas.height - 4)) : 0;
      context.globalAlpha = isIn ? 1 : 0.25;
      context.fillStyle = tessera.hex(along(share));
      context.fillRect(bar * wide + 1, canvas.height - high, wide - 2, high);
    });
    context.globalAlpha = 1;
  }

  function drawValues() {
    const list = tessera.byId("colour-values"), found = shown;
    list.hidden = !found || found.kind !== "values";
    if (!found || found.kind !== "values") return list.replaceChildren();
    list.replaceChildren(...found.order.slice(0, MOST_VALUES).map((value) => {
      const swatch = tessera.element("span", { class: "swatch" });
      swatch.style.background = tessera.hex(found.colourOf[value]);
      const button = tessera.element(
        "button", { type: "button", "aria-pressed": String(values.has(value)) },
        swatch,
        tessera.element("span", { class: "text", text: found.names[value], dir: "auto" }),
        tessera.element("span", { class: "many", text: tessera.count(found.many[value]) }),
      );
      button.addEventListener("click", () => {
        if (!values.delete(value)) values.add(value);
        button.setAttribute("aria-pressed", String(values.has(value)));
        filter();
      });
      return tessera.element("li", {}, button);
    }));
  }

  /** @returns {string[]} what this page knows of photos */
  function options() {
    return Object.keys(NAMES).filter((name) => (name !== "score" || map.scores) && (name !== "label" || map.labels) && (name !== "changes" || map.changes));
  }

  tessera.whenReady(() => {
    const select = tessera.byId("colour-by");
    select.append(...options().map((name) => tessera.element("option", { value: name, text: NAMES[name] })));
    select.addEventListener("change", () => colour(select.value));
    describe(true);
  });
  return { colour, now: () => ({ by, range: [...range], values: [...values], kind: shown && shown.kind }) };
})();
