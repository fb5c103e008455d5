"use strict";

/** Shade all photos by their likeness to one, from codes of 32 bytes a photo. */
tessera.similar = (() => {
  const MOST_LIT = 40;
  const VALUES = 256; // of a byte
  let chosen = -1;
  /** The length of each vector as its code has it. @type {Float32Array | null} */
  let lengths = null;

  /**
   * The cosines of a photo's vector with those of all, as near as the codes tell.
   * @param {number} photo @returns {Promise<Float32Array>}
   */
  async function cosinesWith(photo) {
    const found = await tessera.data.load("codes");
    if (!lengths) lengths = lengthsOf(found);
    const all = lengths, own = all[photo], products = productsWith(found, vectorOf(found, photo));
    return products.map((product, other) => product / (own * all[other] || 1));
  }

  /** @param {Codes} found @returns {number} the numbers in a level */
  const widthOf = ({ levels, steps }) => levels.length / steps.length / VALUES;

  /** The vector that a code stands for. @param {Codes} found @param {number} photo @param {Float32Array} [vector] to be filled */
  function vectorOf(found, photo, vector = new Float32Array((found.steps.length / found.stages) * widthOf(found))) {
    const { codes, levels, steps, stages } = found, bytes = steps.length, width = widthOf(found);
    vector.fill(0);
    for (let byte = 0; byte < bytes; byte++) {
      const level = (byte * VALUES + codes[photo * bytes + byte]) * width, begin = Math.floor(byte / stages) * width;
      for (let i = 0; i < width; i++) vector[begin + i] += levels[level + i] * steps[byte];
    }
    return vector;
  }

  /** @param {Codes} found */
  function lengthsOf(found) {
    const all = new Float32Array(found.codes.length / found.steps.length), vector = vectorOf(found, 0);
    for (let photo = 0; photo < all.length; photo++) {
      vectorOf(found, photo, vector);
      let square = 0;
      for (let i = 0; i < vector.length; i++) square += vector[i] ** 2;
      all[photo] = Math.sqrt(square);
    }
    return all;
  }

  /** The products of a vector with those of all photos. @param {Codes} found @param {Float32Array} vector */
  function productsWith(found, vector) {
    const { codes, levels, steps, stages } = found, bytes = steps.length, width = widthOf(found);
    const table = new Float32Array(bytes * VALUES);
    for (let at = 0; at < table.length; at++) {
      const byte = Math.floor(at / VALUES), begin = Math.floor(byte / stages) * width;
      for (let i = 0; i < width; i++) table[at] += vector[begin + i] * levels[at * width + i] * steps[byte];
    }
    const products = new Float32Array(codes.length / bytes);
    for (let photo = 0, at = 0; photo < products.length; photo++) {
      for (let byte = 0; byte < bytes; byte++, at++) products[photo] += table[byte * VALUES + codes[at]];
    }
    return products;
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
