"use strict";

/** Shade all photos by their likeness to one, from codes of 32 bytes a photo. */
tessera.similar = (() => {
  const MOST_LIT = 40;
  let chosen = -1;
  /** The length of each vector as its code has it. @type {Float32Array | null} */
  let lengths = null;

  /**
   * The cosines of a photo's vector with those of all, as near as the codes tell.
   * @param {number} photo @returns {Promise<Float32Array>}
   */
  async function cosinesWith(photo) {
    const { photos } = tessera.data.map();
    const { codes, levels } = await tessera.data.load("codes");
    const bytes = codes.length / photos, part = levels.length / bytes / 256;
    if (!lengths) {
      const squares = new Float32Array(bytes * 256);
      for (let at = 0; at < levels.length; at++) squares[Math.floor(at / part)] += levels[at] ** 2;
      lengths = sums(codes, squares, bytes).map(Math.sqrt);
    }
    const all = lengths;
    const products = new Float32Array(bytes * 256);
    for (let byte = 0; byte < bytes; byte++) {
      const own = (byte * 256 + codes[photo * bytes + byte]) * part;
      for (let value = 0; value < 256; value++) {
        const other = (byte * 256 + value) * part;
        for (let i = 0; i < part; i++) products[byte * 256 + value] += levels[own + i] * levels[other + i];
      }
    }
    const found = sums(codes, products, bytes), own = all[photo];
    return found.map((product, other) => product / (own * all[other] || 1));
  }

  /** For each code, the sum of what its bytes stand for. @param {Uint8Array} codes @param {Float32Array} table @param {number} bytes of a code */
  function sums(codes, table, bytes) {
    const found = new Float32Array(codes.length / bytes);
    for (let photo = 0, at = 0; photo < found.length; photo++) {
      for (let byte = 0; byte < bytes; byte++, at++) found[photo] += table[byte * 256 + codes[at]];
    }
    return found;
  }

  /** Light the photos that are most like one, and shade the others. @param {number} photo */
  async function lightLike(photo) {
    const map = tessera.data.map();
    chosen = photo;
    const nearest = await tessera.data.nearestTo(photo);
    await tessera.data.loadFor("names", [photo]);
    /** @type {Float32Array | undefined} */
    let strength;
    let order = [photo, ...nearest];
    if (map.codes) {
      const cosines = await cosinesWith(photo);
      const isFirst = new Set(order);
      const rest = Array.from(cosines.keys()).filter((other) => !isFirst.has(other));
      rest.sort((one, other) => cosines[other] - cosines[one]);
      order = [...order, ...rest.slice(0, Math.max(0, MOST_LIT + 1 - order.length))];
      const highest = rest.length ? cosines[rest[0]] : 1, lowest = rest.length ? cosines[rest[rest.length >> 1]] : 0;
      strength = cosines.map((cosine) => Math.min(1, Math.max(0, (cosine - lowest) / (highest - lowest || 1))));
    }
    if (chosen !== photo) return;
    const lit = new Uint8Array(map.photos);
    for (const other of order) lit[other] = 1;
    const words = `are most like ${tessera.data.nameOf(photo)}`;
    tessera.state.light("similar", { lit, order, strength, words, clear });
    tessera.keys.goTo(photo);
    tessera.emit("similar");
  }

  function clear() {
    chosen = -1;
    tessera.state.light("similar", null);
    tessera.emit("similar");
  }

  return { lightLike, cosinesWith, chosen: () => chosen };
})();
