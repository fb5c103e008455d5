"use strict";

/**
 * A picture of the plane, larger than what is seen. Very many photos take long to draw: they are
 * drawn into it once, and while the map moves, it alone is moved and scaled.
 */
tessera.layer = (() => {
  const map = tessera.data.map();
  const MARGIN = 0.25; // of what is seen, on each side
  const FARTHEST = 1.6; // it is scaled by no more, up or down
  const LEAST = 300; // ms between two drawings of it while pictures come in
  const canvas = document.createElement("canvas");
  /** Where the plane's corner is in it, and the side of a cell; in px. */
  let at = { left: 0, top: 0, cell: 0, width: 0, height: 0, ratio: 0 };
  let isGood = false, drawnAt = 0;

  /**
   * Show what is seen of the plane.
   * @param {CanvasRenderingContext2D} context in px of the screen @param {Seen} seen
   * @param {(context: CanvasRenderingContext2D, seen: Seen) => void} paint draws photos into the layer
   */
  function draw(context, seen, paint) {
    const ratio = tessera.pixelRatio();
    if (!isEnough(seen, ratio)) {
      const x = Math.round(MARGIN * seen.width), y = Math.round(MARGIN * seen.height);
      const width = seen.width + 2 * x, height = seen.height + 2 * y;
      const wide = Math.round(width * ratio), high = Math.round(height * ratio);
      if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
      at = { left: seen.left + x, top: seen.top + y, cell: seen.cell, width, height, ratio };
      const inside = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
      inside.setTransform(ratio, 0, 0, ratio, 0, 0);
      inside.clearRect(0, 0, width, height);
      paint(inside, { ...seen, ...at });
      isGood = true;
      drawnAt = performance.now();
    }
    const scale = seen.cell / at.cell;
    context.drawImage(canvas, seen.left - at.left * scale, seen.top - at.top * scale, at.width * scale, at.height * scale);
  }

  /** Whether it has all that is seen, and sharp enough. @param {Seen} seen @param {number} ratio */
  function isEnough(seen, ratio) {
    const scale = seen.cell / at.cell, isSame = Math.abs(scale - 1) < 1e-9;
    if (at.ratio !== ratio || (!seen.isMoving && !(isGood && isSame))) return false;
    if (!isGood && performance.now() - drawnAt > LEAST) return false;
    if (!(scale < FARTHEST && scale > 1 / FARTHEST)) return false;
    const left = seen.left - at.left * scale, top = seen.top - at.top * scale;
    const isCovered = left <= 0 && top <= 0 && left + at.width * scale >= seen.width && top + at.height * scale >= seen.height;
    // What is beyond the plane is empty.
    const isWhole = at.left >= 0 && at.top >= 0 && at.left + map.columns * at.cell <= at.width && at.top + map.rows * at.cell <= at.height;
    return isCovered || isWhole;
  }

  /** Have it drawn anew, because photos look different; at once, or when there is time. @param {boolean} [isSoon] */
  function forget(isSoon = true) {
    isGood = false;
    if (isSoon) at.ratio = 0;
  }

  return { draw, forget };
})();
