"use strict";

/**
 * What is drawn above the tiles: fading, colours, selected photos, the cursor; and in the plane,
 * or while photos travel between the views, the photos themselves.
 */
tessera.marks = (() => {
  const map = tessera.data.map(), state = tessera.state, places = tessera.places;
  const FADED = 0.86;
  const SMALLEST_PICTURE = 7; // px; smaller photos are dots
  const MOST_PICTURES = 6000;
  const GAPS_FROM = 18, BARS_FROM = 40, SMALL_CELL = 10; // px of a cell
  const fade = tessera.element("canvas", { width: map.columns, height: map.rows });
  const wash = tessera.element("canvas", { width: map.columns, height: map.rows });
  const mark = tessera.element("canvas", { width: map.columns, height: map.rows });
  const fading = new Float32Array(map.photos);
  /** The share of the way to the other view, while photos travel. @type {{from: string, share: number} | null} */
  let travel = null;
  /** Whether photos of the plane are large enough, and few enough, to be drawn as pictures. */
  let arePictures = false;
  /** Where photos are on the way, in cells. */
  const between = { x: new Float32Array(map.photos), y: new Float32Array(map.photos) };
  /** @type {Record<string, string>} */
  let colours = { ground: "", accent: "", surface: "", soft: "" };

  /** Prepare what changes with the lit photos, the colours, and light or dark. */
  function prepare() {
    for (const name of Object.keys(colours)) colours[name] = tessera.colourNamed(name);
    const ground = pixelOf(colours.ground), soft = numberOf(colours.soft);
    const faded = new ImageData(map.columns, map.rows), washed = new ImageData(map.columns, map.rows);
    const fades = new Uint32Array(faded.data.buffer).fill(ground), washes = new Uint32Array(washed.data.buffer);
    for (let photo = 0; photo < map.photos; photo++) {
      const at = map.cells[photo], colour = colourOf(photo);
      fading[photo] = fadingOf(photo);
      fades[at] = (ground & 0xffffff) | (Math.round(255 * fading[photo]) << 24);
      if (colour >= 0) washes[at] = 0xff000000 | ((colour & 255) << 16) | (colour & 0xff00) | (colour >> 16);
    }
    fade.getContext("2d").putImageData(faded, 0, 0);
    wash.getContext("2d").putImageData(washed, 0, 0);
    tessera.dots.prepare((photo) => (colourOf(photo) >= 0 ? colourOf(photo) : soft), fading);
    tessera.layer.forget();
  }

  /** Prepare what changes with the selection. */
  function prepareSelected() {
    const marked = new ImageData(map.columns, map.rows), pixels = new Uint32Array(marked.data.buffer);
    const accent = pixelOf(tessera.colourNamed("accent"));
    for (const photo of state.selected) pixels[map.cells[photo]] = accent;
    mark.getContext("2d").putImageData(marked, 0, 0);
    tessera.layer.forget();
  }

  /** @param {string} hex @returns {number} 0xRRGGBB */
  const numberOf = (hex) => parseInt(hex.slice(1), 16);

  /** @param {string} hex @returns {number} an opaque pixel, as ImageData has them */
  function pixelOf(hex) {
    const [red, green, blue] = tessera.rgb(hex);
    return (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;
  }

  /** @param {number} photo @returns {number} 0xRRGGBB, or -1 */
  const colourOf = (photo) => (state.colours ? state.colours[photo] : -1);

  /** @param {number} photo @returns {number} 0 for one that is as clear as can be */
  function fadingOf(photo) {
    if (state.lit && state.lit[photo]) return 0;
    if (state.strength) return FADED * (1 - 0.75 * state.strength[photo]);
    return state.lit ? FADED : 0;
  }

  /**
   * @param {CanvasRenderingContext2D} context in px of the screen
   * @param {Seen} seen where the grid's corner is, how large a cell is, and the size of the canvas
   */
  function draw(context, seen) {
    context.clearRect(0, 0, seen.width, seen.height);
    if (travel) drawTravelling(context, seen, travel);
    else if (state.view === "plane") drawPlane(context, seen);
    else drawGrid(context, seen);
  }

  /** @param {CanvasRenderingContext2D} context @param {Seen} seen */
  function drawGrid(context, { left, top, cell, width, height }) {
    const firstColumn = Math.max(0, Math.floor(-left / cell)), firstRow = Math.max(0, Math.floor(-top / cell));
    const endColumn = Math.min(map.columns, Math.ceil((width - left) / cell));
    const endRow = Math.min(map.rows, Math.ceil((height - top) / cell));
    const across = endColumn - firstColumn, down = endRow - firstRow;
    context.fillStyle = colours.ground;
    // The tiles go on beyond the grid.
    const right = left + map.columns * cell, bottom = top + map.rows * cell;
    context.fillRect(0, 0, width, Math.max(0, top));
    context.fillRect(0, bottom, width, Math.max(0, height - bottom));
    context.fillRect(0, top, Math.max(0, left), bottom - top);
    context.fillRect(right, top, Math.max(0, width - right), bottom - top);
    if (across <= 0 || down <= 0) return;
    /** @type {[number, number, number, number, number, number, number, number]} */
    const box = [firstColumn, firstRow, across, down, left + firstColumn * cell, top + firstRow * cell, across * cell, down * cell];
    context.imageSmoothingEnabled = false;
    if (state.colours && cell < BARS_FROM) {
      context.globalAlpha = (cell < 12 ? 0.8 : 0.45) * (state.lit ? 0.7 : 1);
      context.drawImage(wash, ...box);
      context.globalAlpha = 1;
    }
    context.drawImage(fade, ...box);
    const areSmall = cell < SMALL_CELL;
    if (areSmall && state.selected.size) context.drawImage(mark, ...box);
    context.imageSmoothingEnabled = true;
    if (cell >= GAPS_FROM) {
      const gap = Math.max(1, Math.min(6, cell / 40));
      context.fillStyle = colours.ground;
      for (let column = firstColumn; column <= endColumn; column++) context.fillRect(left + column * cell - gap / 2, top, gap, map.rows * cell);
      for (let row = firstRow; row <= endRow; row++) context.fillRect(left, top + row * cell - gap / 2, map.columns * cell, gap);
    }
    /** @param {number} photo */
    const isSeen = (photo) => {
      const { row, column } = tessera.data.cellOf(photo);
      return column >= firstColumn && column < endColumn && row >= firstRow && row < endRow;
    };
    /** @param {number} photo @returns {[number, number, number]} */
    const boxOf = (photo) => {
      const { row, column } = tessera.data.cellOf(photo);
      return [left + column * cell, top + row * cell, cell];
    };
    if (state.colours && cell >= BARS_FROM) {
      for (let row = firstRow; row < endRow; row++) {
        for (let column = firstColumn; column < endColumn; column++) {
          const photo = places.photoAt("grid", column, row, cell);
          if (photo >= 0) drawBar(context, photo, ...boxOf(photo));
        }
      }
    }
    for (const photo of areSmall ? [] : state.selected) if (isSeen(photo)) drawSelected(context, ...boxOf(photo));
    if (state.hover >= 0 && cell >= GAPS_FROM) drawRing(context, ...boxOf(state.hover), colours.surface, 2);
    if (state.focus >= 0) drawCursor(context, ...boxOf(state.focus));
  }

  /** Draw photos in the plane. @param {CanvasRenderingContext2D} context @param {Seen} seen */
  function drawPlane(context, seen) {
    const xs = places.xs("plane"), ys = places.ys("plane"), size = places.size("plane", seen.cell);
    tessera.layer.draw(context, seen, (inside, all) => paint(inside, all, xs, ys, size));
    const boxOf = boxesOf(seen, xs, ys, size);
    if (state.hover >= 0) {
      if (arePictures) tessera.pictures.draw(context, state.hover, ...boxOf(state.hover));
      drawRing(context, ...boxOf(state.hover), colours.surface, 2);
    }
    if (state.focus >= 0) {
      if (arePictures) tessera.pictures.draw(context, state.focus, ...boxOf(state.focus));
      drawCursor(context, ...boxOf(state.focus));
    }
  }

  /** Draw photos on their way from one view to the other. @param {CanvasRenderingContext2D} context @param {Seen} seen @param {{from: string, share: number}} way */
  function drawTravelling(context, seen, { from, share }) {
    const to = state.view, x0 = places.xs(from), y0 = places.ys(from), x1 = places.xs(to), y1 = places.ys(to);
    const { x, y } = between;
    for (let photo = 0; photo < map.photos; photo++) {
      x[photo] = (1 - share) * x0[photo] + share * x1[photo];
      y[photo] = (1 - share) * y0[photo] + share * y1[photo];
    }
    paint(context, seen, x, y, (1 - share) * places.size(from, seen.cell) + share * places.size(to, seen.cell));
  }

  /**
   * Where photos are drawn: the upper left corner and the size, in px.
   * @param {Seen} seen @param {Float32Array} xs @param {Float32Array} ys in cells @param {number} size in px
   * @returns {(photo: number) => [number, number, number]}
   */
  const boxesOf = ({ left, top, cell }, xs, ys, size) => (photo) =>
    [left + xs[photo] * cell - size / 2, top + ys[photo] * cell - size / 2, size];

  /**
   * Draw photos as pictures, or as dots if they are small or many; and which are selected.
   * @param {CanvasRenderingContext2D} context @param {Seen} seen
   * @param {Float32Array} xs @param {Float32Array} ys in cells @param {number} size in px
   */
  function paint(context, seen, xs, ys, size) {
    const { left, top, cell, width, height } = seen, boxOf = boxesOf(seen, xs, ys, size);
    const [firstX, firstY] = [-size / 2 - left, -size / 2 - top], [lastX, lastY] = [width + firstX + size, height + firstY + size];
    /** @param {number} photo */
    const isSeen = (photo) => xs[photo] * cell > firstX && xs[photo] * cell < lastX && ys[photo] * cell > firstY && ys[photo] * cell < lastY;
    /** @type {number[]} */
    const drawn = [];
    arePictures = size >= SMALLEST_PICTURE;
    for (let photo = 0; arePictures && photo < map.photos; photo++) {
      if (isSeen(photo)) arePictures = drawn.push(photo) <= MOST_PICTURES;
    }
    if (!arePictures) tessera.dots.draw(context, seen, size, xs, ys);
    // What is lit lies above what is not.
    if (arePictures && state.lit) drawn.sort((one, other) => fading[other] - fading[one] || one - other);
    for (const photo of arePictures ? drawn : []) {
      const [x, y] = boxOf(photo);
      context.globalAlpha = Math.max(0.08, 1 - fading[photo]);
      if (tessera.pictures.draw(context, photo, x, y, size)) {
        if (state.colours) drawBar(context, photo, x, y, size);
      } else {
        context.fillStyle = colours.soft;
        context.fillRect(x + size / 4, y + size / 4, size / 2, size / 2);
      }
    }
    context.globalAlpha = 1;
    for (const photo of state.selected) if (isSeen(photo)) drawSelected(context, ...boxOf(photo));
  }

  /** Its colour, below it. @param {CanvasRenderingContext2D} context @param {number} photo @param {number} x @param {number} y @param {number} size in px */
  function drawBar(context, photo, x, y, size) {
    const colour = colourOf(photo);
    if (colour < 0 || fadingOf(photo) > 0.5) return;
    const height = Math.max(3, size / 16);
    context.fillStyle = tessera.hex(colour);
    context.fillRect(x, y + size - height, size, height);
  }

  /** @param {CanvasRenderingContext2D} context @param {number} x @param {number} y @param {number} size in px */
  function drawSelected(context, x, y, size) {
    if (size < 10) {
      context.fillStyle = colours.accent;
      context.fillRect(x, y, Math.max(3, size), Math.max(3, size));
      return;
    }
    drawRing(context, x, y, size, colours.accent, Math.max(2, Math.min(5, size / 14)));
    if (size < 40) return;
    const radius = Math.min(13, size / 6), cx = x + size - radius - 6, cy = y + radius + 6;
    context.beginPath();
    context.arc(cx, cy, radius, 0, 2 * Math.PI);
    context.fillStyle = colours.accent;
    context.fill();
    context.beginPath();
    context.moveTo(cx - radius / 2, cy);
    context.lineTo(cx - radius / 8, cy + radius / 2.5);
    context.lineTo(cx + radius / 2, cy - radius / 2.5);
    context.strokeStyle = colours.surface;
    context.lineWidth = 2;
    context.stroke();
  }

  /** @param {CanvasRenderingContext2D} context @param {number} x @param {number} y @param {number} size in px */
  function drawCursor(context, x, y, size) {
    const grown = Math.max(size, 10), shift = (grown - size) / 2;
    drawRing(context, x - shift - 3, y - shift - 3, grown + 6, colours.surface, 3);
    drawRing(context, x - shift - 6, y - shift - 6, grown + 12, colours.accent, 3);
  }

  /** @param {CanvasRenderingContext2D} context @param {number} x @param {number} y @param {number} size @param {string} colour @param {number} width in px */
  function drawRing(context, x, y, size, colour, width) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.strokeRect(x + width / 2, y + width / 2, size - width, size - width);
  }

  /** @param {{from: string, share: number} | null} now */
  function setTravel(now) { travel = now; }

  return { prepare, prepareSelected, draw, setTravel, isTravelling: () => travel !== null };
})();
