"use strict";

/** The keyboard: a cursor that goes from photo to photo, and a key for each thing that one does. */
tessera.keys = (() => {
  const state = tessera.state;
  /** The way to the right, and down. @type {Record<string, [number, number]>} */
  const ARROWS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
  const LEAST = 28; // px, as large as a photo becomes at least when the cursor goes to it
  /** Each key's words, and what it does on the map. @type {Array<[string[], string, () => void]>} */
  const KEYS = [
    [["Enter"], "Open the photo", () => state.focus >= 0 && tessera.photo.open(state.focus)],
    [[" "], "Select it, or take it out", () => state.focus >= 0 && state.toggle(state.focus)],
    [["n"], "Next lit photo", () => tessera.find.walk(1)],
    [["p"], "The lit photo before", () => tessera.find.walk(-1)],
    [["s"], "Light photos similar to it", () => state.focus >= 0 && tessera.similar.lightLike(state.focus)],
    [["a"], "Select all that are lit", () => tessera.select.selectLit()],
    [["v"], "Grid or plane", () => state.show(state.view === "grid" ? "plane" : "grid")],
    [["+", "="], "Zoom in", () => tessera.map.zoomBy(1)],
    [["-"], "Zoom out", () => tessera.map.zoomBy(-1)],
    [["0", "Home"], "Show the whole map", () => tessera.map.showAll()],
    [["l"], "Landmarks on or off", () => tessera.landmarks.toggle()],
    [["Escape"], "Show all photos as they are", leave],
  ];
  /** @type {Record<string, string>} */
  const SHOWN = { " ": "Space", Escape: "Esc" };

  function leave() {
    if (state.lit) state.lightAll();
    else state.focusOn(-1);
    tessera.card.hide();
  }

  /** Put the cursor on a photo. @param {number} photo @param {number} [side] as large as it is to be, in px */
  function goTo(photo, side = LEAST) {
    state.focusOn(photo);
    tessera.map.bring(photo, side);
    const show = () => {
      if (state.focus !== photo || tessera.photo.current() >= 0) return;
      tessera.card.showBesideBox(photo, tessera.map.boxOf(photo));
      tessera.say(tessera.card.inWords(photo));
    };
    tessera.card.loaded(photo).then(() => setTimeout(show, tessera.isCalm() ? 0 : 280));
  }

  /** @param {[number, number]} way */
  function move([right, down]) {
    const { columns, cells } = tessera.data.map();
    const middle = Math.floor(cells.length / 2 + columns / 2) % cells.length;
    if (state.focus < 0) goTo(state.walk.length ? state.walk[0] : middle);
    else goTo(tessera.places.next(state.view, state.focus, right, down));
  }

  /** @param {KeyboardEvent} event on the map */
  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = ARROWS[event.key], found = KEYS.find(([keys]) => keys.includes(event.key));
    if (!arrow && !found) return;
    event.preventDefault();
    event.stopPropagation();
    if (arrow) move(arrow);
    else if (found) found[2]();
  }

  /** @param {KeyboardEvent} event */
  function anywhere(event) {
    const { tagName } = /** @type {Element} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey || /INPUT|SELECT|TEXTAREA/.test(tagName)) return;
    if (tessera.byId("photo").open || tessera.byId("help").open) return;
    if (event.key === "/") {
      event.preventDefault();
      tessera.byId("find-text").focus();
    }
    if (event.key === "?") help();
    // Buttons have a use of their own for these.
    const isOwn = event.key === "Enter" || event.key === " " || event.key in ARROWS;
    if (!isOwn) pressed(event);
  }

  /** What one may want, and where it is. @returns {[string, string][]} */
  function answers() {
    const { title, scores, explained } = tessera.data.map();
    const why = explained.length
      ? "Open one whose maps there are: Seen, Hidden and Deconvnet lie over it."
      : `“tessera check ${title} --run” makes maps of what the model looks at, for the highest scores.`;
    return [
      ["Find photos", "Type words of their names, folders or labels above."],
      ["See copies", "Colour by “Nearly the same, copies”."],
      ["See the highest scores", scores ? "Colour by “Score”, and press “The 10 highest”." : "The photos have no scores yet."],
      ["See what made a score", why],
      ["See what is new", "Press a map below “Changes”."],
      ["Take a list away", "Press “Save list” below the photos that are lit, or select some and save them."],
    ];
  }

  /** The keys, and what each does. */
  function keyList() {
    const list = tessera.element("dl");
    /** @param {string[]} keys @param {string} words */
    const add = (keys, words) => {
      const shown = keys.flatMap((key, i) => [i ? document.createTextNode(" or ") : null, tessera.element("kbd", { text: SHOWN[key] || key })]);
      list.append(tessera.element("dt", {}, ...shown), tessera.element("dd", { text: words }));
    };
    add(["Arrows"], "From photo to photo, on the map");
    for (const [keys, words] of KEYS) add(keys, words);
    add(["/"], "Find");
    add(["Shift + click"], "Select a photo");
    return list;
  }

  function help() {
    const what = answers().flatMap(([want, how]) => [tessera.element("dt", { text: want }), tessera.element("dd", { text: how })]);
    const dialog = tessera.byId("help");
    const { recall, codes } = tessera.data.map();
    dialog.replaceChildren(
      tessera.element(
        "div", { class: "head" },
        tessera.element("h2", { id: "help-title", text: "How to use this map" }),
        tessera.element("button", { type: "button", class: "quiet", text: "Close", autofocus: "", onclick: () => dialog.close() }),
      ),
      tessera.element("p", { class: "note", text: "Photos that look alike lie side by side. In the plane, how far apart they are says more; in the grid none hides another. The address of the page always leads back to what you see." }),
      tessera.element("dl", { class: "answers" }, ...what),
      tessera.element("h3", { text: "Keys" }),
      keyList(),
      codes ? tessera.element("p", { class: "note", text: `Likeness beyond the ten most similar photos is an estimate, which finds ${Math.round(100 * recall)} of 100 of them by itself.` }) : null,
      tessera.element("p", { class: "note", text: "A CSV file that was saved here can be dropped on the page, and its photos are selected again. Pan and zoom: Leaflet (leaflet/LICENSE)." }),
    );
    dialog.showModal();
  }

  tessera.whenReady(() => {
    const container = tessera.byId("map");
    container.addEventListener("keydown", pressed);
    container.addEventListener("pointerdown", () => container.focus({ preventScroll: true }));
    container.addEventListener("blur", tessera.card.hide);
    document.addEventListener("keydown", anywhere);
    tessera.byId("help-button").addEventListener("click", help);
  });
  return { goTo };
})();
