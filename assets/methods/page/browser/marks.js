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
  const GAPS_FROM = 18, BARS_FROM = 40; // px of a cell
  const fade = tessera.element("canvas", { width: map.columns, height: map.rows });
  const wash = tessera.element("canvas", { width: map.columns, height: map.rows });
  /** The share of the way to the other view, while photos travel. @type {{from: string, share: number} | null} */
  let travel = null;
  let colours = { ground: "", accent: "", surface: "", soft: "" };

  /** Prepare what changes with the lit photos, the colours, and light or dark. */
  function prepare() {
    for (const name of Object.keys(colours)) colours[name] = tessera.colourNamed(name);
    const ground = tessera.rgb(colours.ground);
    const faded = new ImageData(map.columns, map.rows), washed = new ImageData(map.columns, map.rows);
    for (let cell = 0; cell < map.columns * map.rows; cell++) faded.data.set([...ground, 255], 4 * cell);
    for (let photo = 0; photo < map.photos; photo++) {
      const at = 4 * map.cells[photo];
      faded.data[at + 3] = 255 * fadingOf(photo);
      const colour = colourOf(photo);
      if (colour >= 0) washed.data.set([colour >> 16, (colour >> 8) & 255, colour & 255, 255], at);
    }
    fade.getContext("2d").putImageData(faded, 0, 0);
    wash.getContext("2d").putImageData(washed, 0, 0);
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
   * @param {{left: number, top: number, cell: number, width: number, height: number}} seen
   *   where the grid's corner is, how large a cell is, and the size of the canvas
   */
  function draw(context, seen) {
    context.clearRect(0, 0, seen.width, seen.height);
    if (travel || state.view === "plane") drawPhotos(context, seen);
    else drawGrid(context, seen);
  }

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
    const box = [firstColumn, firstRow, across, down, left + firstColumn * cell, top + firstRow * cell, across * cell, down * cell];
    context.imageSmoothingEnabled = false;
    if (state.colours && cell < BARS_FROM) {
      context.globalAlpha = (cell < 12 ? 0.8 : 0.45) * (state.lit ? 0.7 : 1);
      context.drawImage(wash, ...box);
      context.globalAlpha = 1;
    }
    context.drawImage(fade, ...box);
    context.imageSmoothingEnabled = true;
    if (cell >= GAPS_FROM) {
      const gap = Math.max(1, Math.min(6, cell / 40));
      context.fillStyle = colours.ground;
      for (let column = firstColumn; column <= endColumn; column++) context.fillRect(left + column * cell - gap / 2, top, gap, map.rows * cell);
      for (let row = firstRow; row <= endRow; row++) context.fillRect(left, top + row * cell - gap / 2, map.columns * cell, gap);
    }
    const isSeen = (photo) => {
      const { row, column } = tessera.data.cellOf(photo);
      return column >= firstColumn && column < endColumn && row >= firstRow && row < endRow;
    };
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
    for (const photo of state.selected) if (isSeen(photo)) drawSelected(context, ...boxOf(photo));
    if (state.hover >= 0 && cell >= GAPS_FROM) drawRing(context, ...boxOf(state.hover), colours.surface, 2);
    if (state.focus >= 0) drawCursor(context, ...boxOf(state.focus));
  }

  function drawPhotos(context, { left, top, cell, width, height }) {
    const to = state.view, from = travel ? travel.from : to, share = travel ? travel.share : 1;
    const x0 = places.xs(from), y0 = places.ys(from), x1 = places.xs(to), y1 = places.ys(to);
    const size = (1 - share) * places.size(from, cell) + share * places.size(to, cell);
    const xOf = (photo) => left + ((1 - share) * x0[photo] + share * x1[photo]) * cell - size / 2;
    const yOf = (photo) => top + ((1 - share) * y0[photo] + share * y1[photo]) * cell - size / 2;
    /** @type {(photo: number) => [number, number, number]} */
    const boxOf = (photo) => [xOf(photo), yOf(photo), size];
    /** @type {number[]} */
    const seen = [];
    let many = 0;
    for (let photo = 0; photo < map.photos; photo++) {
      const x = xOf(photo), y = yOf(photo);
      if (x > -size && y > -size && x < width && y < height && many++ < MOST_PICTURES) seen.push(photo);
    }
    const arePictures = size >= SMALLEST_PICTURE && many <= MOST_PICTURES;
    if (!arePictures) drawDots(context, xOf, yOf, size, width, height);
    // What is lit lies above what is not.
    if (arePictures && state.lit) seen.sort((one, other) => fadingOf(other) - fadingOf(one) || one - other);
    for (const photo of arePictures ? seen : []) {
      const x = xOf(photo), y = yOf(photo);
      context.globalAlpha = Math.max(0.08, 1 - fadingOf(photo));
      if (tessera.pictures.draw(context, photo, x, y, size)) {
        if (state.colours) drawBar(context, photo, x, y, size);
      } else {
        context.fillStyle = colours.soft;
        context.fillRect(x + size / 4, y + size / 4, size / 2, size / 2);
      }
    }
    context.globalAlpha = 1;
    for (const photo of state.selected) drawSelected(context, ...boxOf(photo));
    if (!travel && state.hover >= 0) {
      const box = boxOf(state.hover);
      if (arePictures) tessera.pictures.draw(context, state.hover, ...box);
      drawRing(context, ...box, colours.surface, 2);
    }
    if (state.focus >= 0) {
      if (arePictures) tessera.pictures.draw(context, state.focus, ...boxOf(state.focus));
      drawCursor(context, ...boxOf(state.focus));
    }
  }

  /** Draw photos as dots, pixel by pixel: there may be very many. */
  function drawDots(context, xOf, yOf, size, width, height) {
    const ratio = context.getTransform().a, wide = Math.round(width * ratio), high = Math.round(height * ratio);
    const image = new ImageData(wide, high), pixels = new Uint32Array(image.data.buffer);
    const dot = Math.round(Math.max(2, Math.min(size, 5)) * ratio), shift = (size * ratio - dot) / 2;
    const [red, green, blue] = tessera.rgb(colours.soft), soft = (red << 16) | (green << 8) | blue;
    // What is lit lies above what is not.
    for (const isAbove of [false, true]) {
      for (let photo = 0; photo < map.photos; photo++) {
        const fading = fadingOf(photo);
        if ((fading === 0) !== isAbove) continue;
        const x = Math.round(xOf(photo) * ratio + shift), y = Math.round(yOf(photo) * ratio + shift);
        if (x < 0 || y < 0 || x + dot > wide || y + dot > high) continue;
        const own = colourOf(photo), colour = own >= 0 ? own : soft;
        const alpha = Math.round(255 * Math.max(0.1, 1 - fading));
        const value = ((alpha << 24) | ((colour & 255) << 16) | (colour & 0xff00) | (colour >> 16)) >>> 0;
        for (let row = y; row < y + dot; row++) {
          for (let at = row * wide + x, end = at + dot; at < end; at++) pixels[at] = value;
        }
      }
    }
    context.putImageData(image, 0, 0);
  }

  function drawBar(context, photo, x, y, size) {
    const colour = colourOf(photo);
    if (colour < 0 || fadingOf(photo) > 0.5) return;
    const height = Math.max(3, size / 16);
    context.fillStyle = tessera.hex(colour);
    context.fillRect(x, y + size - height, size, height);
  }

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

  function drawCursor(context, x, y, size) {
    const grown = Math.max(size, 10), shift = (grown - size) / 2;
    drawRing(context, x - shift - 3, y - shift - 3, grown + 6, colours.surface, 3);
    drawRing(context, x - shift - 6, y - shift - 6, grown + 12, colours.accent, 3);
  }

  function drawRing(context, x, y, size, colour, width) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.strokeRect(x + width / 2, y + width / 2, size - width, size - width);
  }

  /** @param {{from: string, share: number} | null} now */
  function setTravel(now) { travel = now; }

  return { prepare, draw, setTravel, isTravelling: () => travel !== null };
})();
