"use strict";

/** The map: pan and zoom by Leaflet, both views, and the pointer. */
tessera.map = (() => {
  const data = tessera.data.map(), state = tessera.state, places = tessera.places;
  const TRAVEL_SECONDS = 0.7;
  const REST = 120; // ms after which it does not move any more
  const CLOSER = 2; // zooms beyond the deepest tiles
  // Rows count downwards, and zoom z shows cells of 2^z px.
  const crs = L.extend({}, L.CRS.Simple, { transformation: new L.Transformation(1, 0, 1, 0) });
  const bounds = L.latLngBounds([0, 0], [data.rows, data.columns]);
  /** @type {any} */
  let leaflet;
  /** @type {HTMLCanvasElement} */
  let canvas;
  let isDrawn = true;
  /** Whether it is being dragged or zoomed, or was a moment ago. */
  let isMoving = false, rest = 0;
  /** Whether the whole map is to be seen, also after the window has another size. */
  let isWhole = true;

  function start() {
    const container = tessera.byId("map"), isCalm = tessera.isCalm();
    leaflet = L.map(container, {
      crs, attributionControl: false, zoomControl: false, keyboard: false, boxZoom: false,
      doubleClickZoom: false, zoomSnap: 0, wheelPxPerZoomLevel: 90, maxBoundsViscosity: 0.6,
      minZoom: data.coarsest - 2, maxZoom: data.deepest + CLOSER,
      zoomAnimation: !isCalm, fadeAnimation: !isCalm, inertia: !isCalm,
    });
    leaflet.setMaxBounds(bounds.pad(0.6));
    const Tiles = L.TileLayer.extend({
      getTileUrl: (/** @type {{z: number, x: number, y: number}} */ { z, x, y }) => tessera.pictures.tileUrl(z, x, y),
    });
    new Tiles("", {
      tileSize: data.tile, noWrap: true, minZoom: data.coarsest - 2, maxZoom: data.deepest + CLOSER,
      minNativeZoom: data.coarsest, maxNativeZoom: data.deepest, bounds, keepBuffer: 1,
    }).addTo(leaflet);
    canvas = L.DomUtil.create("canvas", "leaflet-zoom-animated", leaflet.getPanes().overlayPane);
    leaflet.on("movestart zoomstart moveend zoomend", () => {
      isMoving = true;
      clearTimeout(rest);
      rest = setTimeout(() => { isMoving = false; redraw(); }, REST);
    });
    leaflet.on("move zoom viewreset resize moveend zoomend", () => place());
    leaflet.on("zoomanim", follow);
    leaflet.on("click", clicked);
    leaflet.on("dblclick", (/** @type {any} */ event) => leaflet.setZoomAround(event.latlng, leaflet.getZoom() + 1));
    container.addEventListener("pointermove", moved);
    container.addEventListener("pointerleave", () => hover(-1));
    for (const what of ["lit", "colour"]) tessera.on(what, drawAnew);
    for (const what of ["focus", "selected", "pictures"]) tessera.on(what, redraw);
    tessera.on("selected", tessera.marks.prepareSelected);
    tessera.on("pictures", () => tessera.layer.forget(false));
    tessera.on("view", travel);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAnew);
    new ResizeObserver(() => {
      leaflet.invalidateSize({ animate: false });
      if (isWhole) showAll(false);
    }).observe(container);
    leaflet.on("dragstart", () => { isWhole = false; });
    leaflet.on("zoomstart", () => { isWhole = false; });
    leaflet.on("zoomstart zoomend", (/** @type {{type: string}} */ { type }) => container.classList.toggle("zooms", type === "zoomstart"));
    tessera.marks.prepare();
    showAll(false);
  }

  /** @returns {Seen} */
  function seen() {
    const corner = leaflet.latLngToContainerPoint([0, 0]), size = leaflet.getSize();
    return { left: corner.x, top: corner.y, cell: 2 ** leaflet.getZoom(), width: size.x, height: size.y, isMoving };
  }

  /** Put the canvas over what is seen, and draw it. */
  function place() {
    const size = leaflet.getSize(), ratio = tessera.pixelRatio();
    if (canvas.width !== size.x * ratio || canvas.height !== size.y * ratio) {
      canvas.width = size.x * ratio;
      canvas.height = size.y * ratio;
      canvas.style.width = `${size.x}px`;
      canvas.style.height = `${size.y}px`;
    }
    L.DomUtil.setPosition(canvas, leaflet.containerPointToLayerPoint([0, 0]));
    drawNow();
  }

  function drawNow() {
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const ratio = tessera.pixelRatio();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    tessera.marks.draw(context, seen());
    tessera.emit("drawn");
  }

  function drawAnew() {
    tessera.marks.prepare();
    tessera.marks.prepareSelected();
    redraw();
  }

  function redraw() {
    if (!isDrawn) return;
    isDrawn = false;
    requestAnimationFrame(() => {
      isDrawn = true;
      drawNow();
    });
  }

  /** Let the canvas take part in Leaflet's animation of a zoom. @param {any} event */
  function follow(event) {
    const half = leaflet.getSize().divideBy(2);
    const origin = leaflet.project(event.center, event.zoom).subtract(half).add(leaflet.layerPointToContainerPoint([0, 0])).round();
    const corner = leaflet.project(leaflet.containerPointToLatLng([0, 0]), event.zoom).subtract(origin);
    L.DomUtil.setTransform(canvas, corner, leaflet.getZoomScale(event.zoom));
  }

  /** Let the photos travel to the view that was chosen. */
  function travel() {
    const from = state.view === "grid" ? "plane" : "grid";
    const container = tessera.byId("map");
    container.classList.add("draws-photos");
    const end = () => {
      tessera.marks.setTravel(null);
      container.classList.toggle("draws-photos", state.view === "plane");
      redraw();
    };
    if (tessera.isCalm()) return end();
    const begun = performance.now();
    /** @param {number} now in ms */
    const step = (now) => {
      const share = Math.min(1, Math.max(0, (now - begun) / 1000 / TRAVEL_SECONDS));
      if (share >= 1) return end();
      tessera.marks.setTravel({ from, share: share * share * (3 - 2 * share) });
      drawNow();
      requestAnimationFrame(step);
    };
    step(begun);
  }

  /** @param {{clientX: number, clientY: number}} event @returns {number} the photo there, or -1 */
  function photoUnder(event) {
    const at = leaflet.mouseEventToLatLng(event);
    return places.photoAt(state.view, at.lng, at.lat, 2 ** leaflet.getZoom());
  }

  /** @param {PointerEvent} event */
  function moved(event) {
    const target = /** @type {Element} */ (event.target);
    if (event.pointerType === "touch" || event.buttons || target.closest(".landmark")) return hover(-1);
    hover(photoUnder(event), event);
  }

  /** @param {number} photo or -1 @param {PointerEvent | null} event of the pointer above it */
  function hover(photo, event = null) {
    if (photo !== state.hover) {
      state.hover = photo;
      redraw();
    }
    if (photo < 0 || !event) tessera.card.hide();
    else tessera.card.showAt(photo, event.clientX, event.clientY);
  }

  /** @param {any} event of Leaflet */
  function clicked(event) {
    if (state.tool !== "move" && !event.originalEvent.shiftKey) return;
    const photo = photoUnder(event.originalEvent);
    if (photo < 0) return;
    if (event.originalEvent.shiftKey) state.toggle(photo);
    else tessera.photo.open(photo);
  }

  /** Where a photo is on the page, in px. @param {number} photo */
  function boxOf(photo) {
    const { left, top, cell } = seen(), size = places.size(state.view, cell);
    const frame = tessera.byId("map").getBoundingClientRect();
    const x = frame.left + left + places.xs(state.view)[photo] * cell;
    const y = frame.top + top + places.ys(state.view)[photo] * cell;
    return { left: x - size / 2, top: y - size / 2, right: x + size / 2, bottom: y + size / 2 };
  }

  /** Bring a photo into sight. @param {number} photo @param {number} [side] as large as this at least, in px */
  function bring(photo, side = 0) {
    const at = [places.ys(state.view)[photo], places.xs(state.view)[photo]];
    const wanted = Math.max(leaflet.getZoom(), side ? Math.log2(side) : -Infinity);
    const animate = !tessera.isCalm();
    if (wanted > leaflet.getZoom() + 0.01) leaflet.setView(at, wanted, { animate });
    else if (!leaflet.getBounds().pad(-0.12).contains(at)) leaflet.panTo(at, { animate });
  }

  /** Show a part of the map, but no photo larger than the deepest tiles. @param {{left: number, top: number, right: number, bottom: number}} box in cells */
  function fit(box) {
    const part = L.latLngBounds([box.top, box.left], [box.bottom, box.right]).pad(0.12);
    leaflet.fitBounds(part, { animate: !tessera.isCalm(), maxZoom: data.deepest - 1 });
  }

  /** @param {boolean} [animate] */
  function showAll(animate = !tessera.isCalm()) {
    leaflet.fitBounds(bounds, { padding: [18, 18], animate });
    isWhole = true;
  }

  /** @param {number} by */
  const zoomBy = (by) => leaflet.setZoom(leaflet.getZoom() + by, { animate: !tessera.isCalm() });

  /** @returns {{row: number, column: number, zoom: number}} */
  function sight() {
    const centre = leaflet.getCenter();
    return { row: centre.lat, column: centre.lng, zoom: leaflet.getZoom() };
  }

  /** @param {{row: number, column: number, zoom: number}} wanted */
  function look(wanted) {
    leaflet.setView([wanted.row, wanted.column], wanted.zoom, { animate: false });
    isWhole = false;
  }

  /** @param {boolean} isOn whether dragging moves the map */
  const drag = (isOn) => (isOn ? leaflet.dragging.enable() : leaflet.dragging.disable());

  tessera.whenReady(start);
  return { seen, boxOf, bring, fit, showAll, zoomBy, sight, look, drag, photoUnder, onMoveEnd: (act) => leaflet.on("moveend", act) };
})();
