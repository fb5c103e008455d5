"use strict";

/** Pictures of single photos, cut out of the tiles. */
tessera.pictures = (() => {
  const map = tessera.data.map();
  const MOST_TILES = 192;
  /** The tiles in the order in which they were last used. @type {Map<string, HTMLImageElement>} */
  const tiles = new Map();
  let isTold = false;

  /** The number of tiles before those of each zoom, and how many are in a row of it. @type {Map<number, {before: number, across: number}>} */
  const rows = new Map();
  for (let zoom = map.coarsest, before = 0; zoom <= map.deepest; zoom++) {
    const [across, down] = [map.columns, map.rows].map((cells) => Math.ceil((cells * 2 ** zoom) / map.tile));
    rows.set(zoom, { before, across });
    before += across * down;
  }

  /** The address of a tile. It has the version of what is in it, so that a cache never mixes two maps. @param {number} zoom @param {number} x @param {number} y @returns {string} */
  function tileUrl(zoom, x, y) {
    const row = rows.get(zoom), version = row ? map.tileVersions[row.before + y * row.across + x] : 0;
    return `tiles/${zoom}/${x}-${y}.jpg?v=${(version || 0).toString(36)}`;
  }

  /** @param {string} url @returns {HTMLImageElement} */
  function tile(url) {
    let image = tiles.get(url);
    if (image) tiles.delete(url);
    else {
      image = new Image();
      image.addEventListener("load", tell);
      image.src = url;
    }
    tiles.set(url, image);
    if (tiles.size > MOST_TILES) tiles.delete(/** @type {string} */ (tiles.keys().next().value));
    return image;
  }

  function tell() {
    if (isTold) return;
    isTold = true;
    requestAnimationFrame(() => {
      isTold = false;
      tessera.emit("pictures");
    });
  }

  /** The zoom whose cells are just as large. @param {number} side in px */
  const zoomFor = (side) =>
    Math.max(map.coarsest, Math.min(map.deepest, Math.ceil(Math.log2(Math.max(side, 0.01)))));

  /**
   * Where a photo is in a tile.
   * @param {number} photo @param {number} zoom
   */
  function part(photo, zoom) {
    const side = 2 ** zoom;
    const { row, column } = tessera.data.cellOf(photo);
    const left = column * side, top = row * side;
    const x = Math.floor(left / map.tile), y = Math.floor(top / map.tile);
    return { image: tile(tileUrl(zoom, x, y)), left: left % map.tile, top: top % map.tile, side };
  }

  /**
   * Draw a photo, from a coarser tile while the right one is loaded.
   * @param {CanvasRenderingContext2D} context @param {number} photo
   * @param {number} left @param {number} top @param {number} side in px of the context
   * @param {number} [zoom] of the tile
   * @returns {boolean} whether there was anything to draw
   */
  function draw(context, photo, left, top, side, zoom = zoomFor(side)) {
    for (const from of new Set([zoom, Math.max(map.coarsest, zoom - 2), map.coarsest])) {
      const found = part(photo, from);
      if (found.image.complete && found.image.naturalWidth) {
        context.drawImage(found.image, found.left, found.top, found.side, found.side, left, top, side, side);
        return true;
      }
    }
    return false;
  }

  /**
   * Make a picture of a photo, which is drawn as soon as its tile is there.
   * @param {number} photo @param {number} side in px of the screen
   * @returns {HTMLCanvasElement}
   */
  function picture(photo, side) {
    const pixels = Math.min(2 ** map.deepest, Math.round(side * tessera.pixelRatio()));
    const canvas = tessera.element("canvas", { width: pixels, height: pixels, "aria-hidden": "true" });
    const zoom = zoomFor(pixels);
    const { image } = part(photo, zoom);
    const context = canvas.getContext("2d");
    const paint = () => draw(context, photo, 0, 0, pixels, zoom);
    paint();
    if (!image.complete) image.addEventListener("load", paint);
    return canvas;
  }

  /**
   * Make a list of photos that open when they are pressed.
   * @param {HTMLElement} list @param {number[]} photos @param {number} side
   */
  function fill(list, photos, side) {
    list.replaceChildren(...photos.map((photo) => {
      const button = tessera.element(
        "button",
        { type: "button", "data-photo": photo, onclick: () => tessera.photo.open(photo) },
        picture(photo, side),
      );
      const words = () => button.setAttribute("aria-label", tessera.card.inWords(photo));
      words();
      tessera.data.loadFor("names", [photo]).then(words);
      button.addEventListener("pointerenter", () => tessera.card.showBeside(photo, button));
      button.addEventListener("pointerleave", tessera.card.hide);
      return tessera.element("li", {}, button);
    }));
  }

  return { draw, picture, fill, tileUrl };
})();
