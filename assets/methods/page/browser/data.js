"use strict";

/** The data of the page: scripts in data/ that are loaded when they are first needed. */
tessera.data = (() => {
  /** @type {Record<string, any>} */
  const ARRAYS = {
    int8: Int8Array, uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, int32: Int32Array,
    float32: Float32Array, float64: Float64Array,
  };
  /** The largest number in the columns of points and scores. */
  const LARGEST = 65535;
  const NO_SCORE = LARGEST;
  /** @type {Map<string, any>} */
  const parts = new Map();
  /** @type {Map<string, Promise<any>>} */
  const loads = new Map();
  let fileLetters = 0;

  /** @param {any} field @returns {any} the array of a column; other fields as they are */
  function decoded(field) {
    if (!field || typeof field.base64 !== "string") return field;
    const text = atob(field.base64);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return new ARRAYS[field.type](bytes.buffer);
  }

  /** What the scripts in data/ call. @param {string} part @param {Record<string, any>} fields */
  function receive(part, fields) {
    for (const name of Object.keys(fields)) fields[name] = decoded(fields[name]);
    parts.set(part, fields);
  }

  /** Load a part unless it is there. @param {string} part @returns {Promise<any>} */
  function load(part) {
    if (parts.has(part)) return Promise.resolve(parts.get(part));
    if (!loads.has(part)) {
      loads.set(part, new Promise((resolve, reject) => {
        const script = tessera.element("script", { src: versioned(`data/${part}.js`) });
        script.addEventListener("load", () => resolve(parts.get(part)));
        script.addEventListener("error", () => {
          loads.delete(part);
          tessera.toast("A part of this page cannot be read: is its folder whole?");
          reject(new Error(part));
        });
        document.head.append(script);
      }));
    }
    return /** @type {Promise<any>} */ (loads.get(part));
  }

  /** The address of a file with the version of this map. @param {string} file @returns {string} */
  const versioned = (file) => `${file}?v=${map().version}`;

  /** The part that is there already. @param {string} part */
  const has = (part) => parts.get(part);
  const map = () => parts.get("map");
  /** @param {number} photo */
  const fileOf = (photo) => Math.floor(photo / map().photosAFile);
  /** @param {number} photo */
  const placeIn = (photo) => photo % map().photosAFile;

  /** Where a photo is in the grid. @param {number} photo @returns {{row: number, column: number}} */
  function cellOf(photo) {
    const { cells, columns } = map();
    return { row: Math.floor(cells[photo] / columns), column: cells[photo] % columns };
  }

  /** Load the file of a part that has these photos. @param {string} part @param {Iterable<number>} photos */
  function loadFor(part, photos) {
    const files = new Set([...photos].map(fileOf));
    return Promise.all([...files].map((file) => load(`${part}-${file}`)));
  }

  /** Load all files of a part. @param {string} part */
  function loadAll(part) {
    const files = Math.ceil(map().photos / map().photosAFile);
    return Promise.all(Array.from({ length: files }, (_, file) => load(`${part}-${file}`)));
  }

  /** @param {number} photo @returns {string} its name, or nothing before names were loaded */
  function nameOf(photo) {
    const file = has(`names-${fileOf(photo)}`);
    return file ? file.names[placeIn(photo)] : "";
  }

  /** @param {number} photo @returns {string} where its file is; facts and names have to be there */
  function uriOf(photo) {
    const facts = has("facts");
    return facts.uris[photo] || `${facts.folders[facts.folderCodes[photo]]}/${nameOf(photo)}`;
  }

  /** @param {number} photo @returns {string} the image_id; ids have to be there */
  function idOf(photo) {
    const ids = has(`ids-${fileOf(photo)}`).ids, begin = placeIn(photo) * 32;
    return Array.from(ids.subarray(begin, begin + 32), (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  /** Find photos by the beginnings of their ids. @param {string[]} wanted @returns {Promise<number[]>} */
  async function photosWithIds(wanted) {
    const letters = wanted.reduce((least, id) => Math.min(least, id.length), Infinity);
    if (!wanted.length || letters < 8) return [];
    await loadAll("ids");
    const short = new Set(wanted.map((id) => id.slice(0, letters)));
    const found = [];
    for (let photo = 0; photo < map().photos; photo++) {
      if (short.has(idOf(photo).slice(0, letters))) found.push(photo);
    }
    return found;
  }

  /** @param {number} photo @returns {number | null} */
  function scoreOf(photo) {
    const scores = map().scores;
    return !scores || scores[photo] === NO_SCORE ? null : scores[photo] / (NO_SCORE - 1);
  }

  /** @param {number} photo @returns {string} the label, or nothing */
  function labelOf(photo) {
    const { labels, labelCodes } = map();
    if (labels) return labelCodes[photo] ? labels[labelCodes[photo] - 1] : "";
    const facts = has("facts");
    return (facts && facts.labels[photo]) || "";
  }

  /** @param {number} photo @returns {Promise<number[]>} the most similar photos, the nearest first */
  async function nearestTo(photo) {
    const many = map().neighbours;
    if (!many) return [];
    const [file] = await loadFor("neighbours", [photo]);
    const begin = placeIn(photo) * many;
    return Array.from(file.nearest.subarray(begin, begin + many));
  }

  return {
    LARGEST, receive, load, loadFor, loadAll, has, map, cellOf, nameOf, uriOf, idOf,
    photosWithIds, scoreOf, labelOf, nearestTo, versioned,
  };
})();
