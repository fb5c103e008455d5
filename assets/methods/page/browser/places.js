"use strict";

/** Where the photos are, in cells from the upper left corner of the grid, in both views. */
tessera.places = (() => {
  const map = tessera.data.map();
  const WHOLE = tessera.data.LARGEST;
  // Overlapping photos are drawn smaller than cells, and come apart as one zooms in.
  const PLANE_SIZE = 1.7, PLANE_POWER = 0.75;
  const side = Math.max(map.columns, map.rows);
  const inset = 0.02 * side;
  const gridX = Float32Array.from(map.cells, (cell) => (cell % map.columns) + 0.5);
  const gridY = Float32Array.from(map.cells, (cell) => Math.floor(cell / map.columns) + 0.5);
  const toX = intoPlane(map.x, map.columns), toY = intoPlane(map.y, map.rows);
  const planeX = Float32Array.from(map.x, toX), planeY = Float32Array.from(map.y, toY);
  const photoIn = new Int32Array(map.columns * map.rows).fill(-1);
  map.cells.forEach((cell, photo) => { photoIn[cell] = photo; });
  /** Photos by the cell of the grid below their point. @type {Map<number, number[]> | null} */
  let buckets = null;

  /**
   * What turns the values of an axis into cells.
   * @param {Uint16Array} values @param {number} cells along this side @returns {(value: number) => number}
   */
  function intoPlane(values, cells) {
    const most = values.reduce((most, value) => Math.max(most, value), 0);
    const room = (cells - 2 * inset) / (most / WHOLE || 1);
    const scale = Math.min(room, side - 2 * inset);
    const begin = (cells - scale * (most / WHOLE)) / 2;
    return (value) => begin + (value / WHOLE) * scale;
  }

  /** @param {string} view */
  const xs = (view) => (view === "grid" ? gridX : planeX);
  /** @param {string} view */
  const ys = (view) => (view === "grid" ? gridY : planeY);

  /** How large a photo is drawn. @param {string} view @param {number} cell in px @returns {number} px */
  const size = (view, cell) => (view === "grid" ? cell : PLANE_SIZE * cell ** PLANE_POWER);

  /** @param {number} x @param {number} y in cells */
  const bucketOf = (x, y) => Math.floor(y) * map.columns + Math.floor(x);

  function inBuckets() {
    if (!buckets) {
      buckets = new Map();
      for (let photo = 0; photo < map.photos; photo++) {
        const bucket = bucketOf(planeX[photo], planeY[photo]);
        const others = buckets.get(bucket);
        if (others) others.push(photo);
        else buckets.set(bucket, [photo]);
      }
    }
    return buckets;
  }

  /**
   * The photo at a place, or -1.
   * @param {string} view @param {number} x @param {number} y @param {number} cell in px
   */
  function photoAt(view, x, y, cell) {
    if (view === "grid") {
      const column = Math.floor(x), row = Math.floor(y);
      const isInside = column >= 0 && row >= 0 && column < map.columns && row < map.rows;
      return isInside ? photoIn[row * map.columns + column] : -1;
    }
    const reach = Math.max(size(view, cell), 10) / cell / 2;
    let found = -1, least = reach;
    for (let row = Math.floor(y - reach); row <= y + reach; row++) {
      for (let column = Math.floor(x - reach); column <= x + reach; column++) {
        for (const photo of inBuckets().get(row * map.columns + column) || []) {
          if (!tessera.state.isLit(photo)) continue;
          const away = Math.max(Math.abs(planeX[photo] - x), Math.abs(planeY[photo] - y));
          // Later photos are drawn above earlier ones.
          if (away <= least) [found, least] = [photo, away];
        }
      }
    }
    return found;
  }

  /**
   * The next lit photo from one, to the right (1, 0), down (0, 1) ...; the same where there is none.
   * @param {string} view @param {number} from @param {number} right @param {number} down
   */
  function next(view, from, right, down) {
    if (view === "grid" && !tessera.state.lit) {
      const { row, column } = tessera.data.cellOf(from);
      const found = photoAt("grid", column + right, row + down, 1);
      if (found >= 0) return found;
    }
    const x = xs(view), y = ys(view);
    let best = from, least = Infinity;
    for (let photo = 0; photo < map.photos; photo++) {
      if (photo === from || !tessera.state.isLit(photo)) continue;
      const dx = x[photo] - x[from], dy = y[photo] - y[from];
      const ahead = dx * right + dy * down, aside = Math.abs(dx * down) + Math.abs(dy * right);
      if (ahead <= 0 || aside > ahead) continue;
      const cost = ahead + 2 * aside;
      if (cost < least) [best, least] = [photo, cost];
    }
    return best;
  }

  return { xs, ys, planeX: toX, planeY: toY, size, photoAt, next };
})();
