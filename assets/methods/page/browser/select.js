"use strict";

/** Select photos: by a rectangle, a lasso, with the shift key, or all that are lit. */
tessera.select = (() => {
  const map = tessera.data.map(), state = tessera.state, places = tessera.places;
  const MOST_SHOWN = 10, SIDE = 52;
  const NEAR = 3; // px between two points of a lasso
  const SMALLEST = 4; // px; what is no larger is a click
  /** The corners of the area that is being drawn, in px of the map. @type {number[][]} */
  let corners = [];
  /** @type {SVGPolygonElement | null} */
  let outline = null;

  /** @param {PointerEvent} event */
  function begin(event) {
    if (state.tool === "move" || event.button !== 0) return;
    event.preventDefault();
    /** @type {Element} */ (event.target).setPointerCapture(event.pointerId);
    corners = [inMap(event)];
    tessera.card.hide();
  }

  /** @param {PointerEvent} event */
  function draw(event) {
    if (!corners.length) return;
    const at = inMap(event), last = corners[corners.length - 1];
    if (state.tool === "rectangle") corners = [corners[0], at];
    else if (Math.hypot(at[0] - last[0], at[1] - last[1]) >= NEAR) corners.push(at);
    drawOutline();
  }

  /** @param {PointerEvent} event */
  function end(event) {
    if (!corners.length) return;
    const polygon = asPolygon(), isArea = polygon.length > 2 && [0, 1].some((axis) => extent(polygon, axis) > SMALLEST);
    corners = [];
    drawOutline();
    if (isArea) {
      const inside = photosIn(polygon);
      const others = event.shiftKey || event.altKey ? [...state.selected] : [];
      const taken = new Set(inside);
      state.select(event.altKey ? others.filter((photo) => !taken.has(photo)) : [...others, ...inside]);
    } else {
      const photo = tessera.map.photoUnder(event);
      if (photo >= 0) state.toggle(photo);
    }
  }

  /** @param {PointerEvent} event @returns {number[]} */
  function inMap(event) {
    const frame = tessera.byId("map").getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  }

  function asPolygon() {
    if (state.tool !== "rectangle" || corners.length < 2) return corners;
    const [[left, top], [right, bottom]] = corners;
    return [[left, top], [right, top], [right, bottom], [left, bottom]];
  }

  /** @param {number[][]} polygon @param {number} axis @returns {[number, number]} the lowest and the highest corner */
  function endsOf(polygon, axis) {
    const values = polygon.map((corner) => corner[axis]);
    return [values.reduce((one, other) => Math.min(one, other)), values.reduce((one, other) => Math.max(one, other))];
  }

  /** @param {number[][]} polygon @param {number} axis */
  function extent(polygon, axis) {
    const [low, high] = endsOf(polygon, axis);
    return high - low;
  }

  /** @param {number[][]} polygon in px of the map @returns {number[]} the lit photos whose middle is inside */
  function photosIn(polygon) {
    const { left, top, cell } = tessera.map.seen(), found = [];
    const x = places.xs(state.view), y = places.ys(state.view);
    const inCells = polygon.map(([right, down]) => [(right - left) / cell, (down - top) / cell]);
    const [lowX, highX] = endsOf(inCells, 0), [lowY, highY] = endsOf(inCells, 1);
    for (let photo = 0; photo < map.photos; photo++) {
      if (x[photo] < lowX || x[photo] > highX || y[photo] < lowY || y[photo] > highY) continue;
      if (state.isLit(photo) && isInside(inCells, x[photo], y[photo])) found.push(photo);
    }
    return found;
  }

  /** @param {number[][]} polygon @param {number} x @param {number} y */
  function isInside(polygon, x, y) {
    let inside = false;
    for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
      const [xi, yi] = polygon[i], [xj, yj] = polygon[j];
      if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
    }
    return inside;
  }

  function drawOutline() {
    const names = "http://www.w3.org/2000/svg";
    if (!outline) {
      const svg = document.createElementNS(names, "svg");
      svg.setAttribute("class", "outline");
      svg.setAttribute("aria-hidden", "true");
      outline = /** @type {SVGPolygonElement} */ (document.createElementNS(names, "polygon"));
      svg.append(outline);
      tessera.byId("map").append(svg);
    }
    outline.setAttribute("points", asPolygon().map((corner) => corner.join(",")).join(" "));
  }

  function useTool() {
    tessera.showChosen("tools", "tool", state.tool);
    tessera.byId("map").classList.toggle("selects", state.tool !== "move");
    tessera.map.drag(state.tool === "move");
  }

  /** Select all photos that are lit; all there are, if none is faded. */
  function selectLit() {
    state.select(state.lit ? state.walk : Array.from({ length: map.photos }, (_, photo) => photo));
  }

  function show() {
    const many = state.selected.size;
    tessera.byId("select-text").textContent = many
      ? `${tessera.counted(many, "photo is", "photos are")} selected.`
      : "Draw around photos, or hold Shift and click on them.";
    tessera.byId("select-lit").textContent = state.lit ? `Select all ${tessera.count(state.walk.length)} lit` : "Select all";
    tessera.byId("select-lit").disabled = state.lit !== null && !state.walk.length;
    tessera.byId("select-none").disabled = !many;
    tessera.byId("select-save").disabled = !many;
    const first = [...state.selected].slice(0, MOST_SHOWN);
    tessera.pictures.fill(tessera.byId("select-photos"), first, SIDE);
  }

  tessera.whenReady(() => {
    const container = tessera.byId("map");
    container.addEventListener("pointerdown", begin);
    container.addEventListener("pointermove", draw);
    container.addEventListener("pointerup", end);
    container.addEventListener("pointercancel", () => { corners = []; drawOutline(); });
    for (const button of tessera.byId("tools").children) {
      button.addEventListener("click", () => state.use(button.dataset.tool));
    }
    tessera.byId("select-lit").addEventListener("click", selectLit);
    tessera.byId("select-none").addEventListener("click", () => state.select([]));
    tessera.on("tool", useTool);
    tessera.on("selected", () => {
      show();
      tessera.say(`${tessera.counted(state.selected.size, "photo", "photos")} selected`);
    });
    tessera.on("lit", show);
    tessera.on("colour", show);
    show();
  });
  return { selectLit };
})();
