"use strict";

/**
 * What is shown now. Parts change it by its functions, which tell all who listen:
 * "view", "lit", "focus", "selected", "colour", "tool".
 */
tessera.state = (() => {
  const map = tessera.data.map();
  /**
   * Why photos are lit. `lit` has 1 for each photo that is; `order` is in which they are walked;
   * `strength` (0 to 1) shades photos instead of fading all others alike.
   * @typedef {{lit: Uint8Array, words: string, order?: number[], strength?: Float32Array,
   *            clear: () => void}} Reason
   */
  /** @type {Map<string, Reason>} */
  const reasons = new Map();
  const state = {
    /** @type {"grid" | "plane"} */
    view: "grid",
    /** The photo under the keyboard's cursor; -1 if none. */
    focus: -1,
    /** The photo under the pointer; -1 if none. */
    hover: -1,
    /** @type {"move" | "rectangle" | "lasso"} */
    tool: "move",
    /** @type {Set<number>} */
    selected: new Set(),
    /** The lit photos (1), or null if all are. @type {Uint8Array | null} */
    lit: null,
    /** The lit photos in the order in which they are walked. @type {number[]} */
    walk: [],
    /** @type {Float32Array | null} */
    strength: null,
    /** The colour of each photo as 0xRRGGBB, or -1; null if photos are not coloured. @type {Int32Array | null} */
    colours: null,
    /** Sorts the lit photos where no reason has an order. @type {((one: number, other: number) => number) | null} */
    sorting: null,
  };

  /** Light photos, or end it with null. @param {string} by who does it @param {Reason | null} reason */
  function light(by, reason) {
    if (reason) reasons.set(by, reason);
    else if (!reasons.delete(by)) return;
    settle();
    tessera.emit("lit");
  }

  function settle() {
    state.lit = null;
    state.walk = [];
    state.strength = null;
    if (!reasons.size) return;
    const all = litBecause();
    const lit = new Uint8Array(map.photos).fill(1);
    for (const reason of all) {
      for (let photo = 0; photo < lit.length; photo++) lit[photo] &= reason.lit[photo];
      state.strength = reason.strength || state.strength;
    }
    state.lit = lit;
    const ordered = all.find((reason) => reason.order);
    if (ordered && ordered.order) {
      state.walk = ordered.order.filter((photo) => lit[photo]);
    } else {
      for (let photo = 0; photo < lit.length; photo++) if (lit[photo]) state.walk.push(photo);
      if (state.sorting) state.walk.sort(state.sorting);
    }
  }

  /** @returns {Reason[]} why photos are lit */
  const litBecause = () => [...reasons.values()];

  /** Light all photos again. */
  function lightAll() {
    for (const reason of litBecause()) reason.clear();
  }

  /** @param {number} photo */
  const isLit = (photo) => !state.lit || state.lit[photo] === 1;

  /** @param {number} photo or -1 */
  function focus(photo) {
    state.focus = photo;
    tessera.emit("focus");
  }

  /** @param {"grid" | "plane"} view */
  function show(view) {
    if (state.view === view) return;
    state.view = view;
    tessera.emit("view");
  }

  /** @param {Iterable<number>} photos */
  function select(photos) {
    state.selected = new Set(photos);
    tessera.emit("selected");
  }

  /** @param {number} photo */
  function toggle(photo) {
    if (!state.selected.delete(photo)) state.selected.add(photo);
    tessera.emit("selected");
  }

  /** @param {Int32Array | null} colours @param {((one: number, other: number) => number) | null} sorting */
  function colour(colours, sorting) {
    state.colours = colours;
    state.sorting = sorting;
    settle();
    tessera.emit("colour");
  }

  /** @param {"move" | "rectangle" | "lasso"} tool */
  function use(tool) {
    state.tool = tool;
    tessera.emit("tool");
  }

  return Object.assign(state, {
    light, litBecause, lightAll, isLit, focusOn: focus, show, select, toggle, colour, use,
  });
})();
