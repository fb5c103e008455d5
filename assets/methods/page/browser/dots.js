"use strict";

/** Very many photos as dots, drawn pixel by pixel. */
tessera.dots = (() => {
  const map = tessera.data.map();
  const SMALLEST = 2, LARGEST = 5; // px
  /** The pixel of each photo, as ImageData has them. */
  const pixels = new Uint32Array(map.photos);
  /** The photos in the order in which they are drawn: what is lit lies above what is not. */
  const order = Uint32Array.from(pixels.keys());

  /**
   * Take in how photos look.
   * @param {(photo: number) => number} colourOf 0xRRGGBB @param {Float32Array} fading 0 for one that is lit, up to 1
   */
  function prepare(colourOf, fading) {
    let above = 0;
    for (let photo = 0; photo < map.photos; photo++) if (fading[photo] > 0) above++;
    let below = 0;
    for (let photo = 0; photo < map.photos; photo++) {
      const colour = colourOf(photo), alpha = Math.round(255 * Math.max(0.1, 1 - fading[photo]));
      pixels[photo] = (alpha << 24) | ((colour & 255) << 16) | (colour & 0xff00) | (colour >> 16);
      if (fading[photo] > 0) order[below++] = photo;
      else order[above++] = photo;
    }
  }

  /**
   * Draw over all of a canvas.
   * @param {CanvasRenderingContext2D} context @param {Seen} seen @param {number} size of a photo in px
   * @param {Float32Array} xs @param {Float32Array} ys where photos are, in cells
   */
  function draw(context, { left, top, cell }, size, xs, ys) {
    const ratio = context.getTransform().a, wide = context.canvas.width, high = context.canvas.height;
    const image = new ImageData(wide, high), target = new Uint32Array(image.data.buffer);
    const dot = Math.round(Math.max(SMALLEST, Math.min(size, LARGEST)) * ratio), half = dot / 2;
    const scale = cell * ratio, x0 = left * ratio - half, y0 = top * ratio - half;
    const lastX = wide - dot, lastY = high - dot, many = order.length;
    for (let i = 0; i < many; i++) {
      const photo = order[i];
      const x = Math.round(xs[photo] * scale + x0), y = Math.round(ys[photo] * scale + y0);
      if (x < 0 || y < 0 || x > lastX || y > lastY) continue;
      const pixel = pixels[photo];
      for (let row = y * wide + x, end = row + dot * wide; row < end; row += wide) {
        for (let at = row; at < row + dot; at++) target[at] = pixel;
      }
    }
    context.putImageData(image, 0, 0);
  }

  return { prepare, draw };
})();
