"use strict";

/** Take a selection away as a CSV file, and bring one back by dropping it on the page. */
tessera.csv = (() => {
  const COLUMNS = ["image_id", "uri", "label", "score", "row", "col", "x", "y"];
  // Spreadsheets take a text that begins so for a formula, and some carry it out.
  const FORMULA = /^'*[=+\-@＝＋－＠]/;
  const SAVED = 60_000; // ms after which a browser has read what it saves

  /** @param {number[]} photos @returns {Promise<string>} a table with a row for each */
  async function tableOf(photos) {
    const map = tessera.data.map(), given = tessera.byId("select-label").value.trim();
    await Promise.all([tessera.data.loadFor("ids", photos), tessera.data.loadFor("names", photos), tessera.data.load("facts")]);
    /** @param {Uint16Array} values @param {number} photo @param {number} axis */
    const place = (values, photo, axis) => String(map.lowest[axis] + (values[photo] / tessera.data.LARGEST) * map.spread);
    const rows = photos.map((photo) => {
      const score = tessera.data.scoreOf(photo), label = given || tessera.data.labelOf(photo);
      const { row, column } = tessera.data.cellOf(photo);
      return [
        tessera.data.idOf(photo),
        tessera.data.uriOf(photo),
        FORMULA.test(label) ? `'${label}` : label,
        score === null ? "" : score.toFixed(5),
        String(row),
        String(column),
        place(map.x, photo, 0),
        place(map.y, photo, 1),
      ];
    });
    return [COLUMNS, ...rows].map((row) => row.map(quoted).join(",")).join("\r\n") + "\r\n";
  }

  /** @param {string} text */
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

  /** Save the selected photos, from the first cell to the last. */
  function saveSelected() {
    return save([...tessera.state.selected].sort((one, other) => one - other), tessera.byId("select-name").value.trim());
  }

  /** @param {number[]} photos in the order of the rows @param {string} called */
  async function save(photos, called) {
    const name = called || "selection";
    const table = new Blob([await tableOf(photos)], { type: "text/csv" });
    const link = tessera.element("a", {
      href: URL.createObjectURL(table),
      download: `${name.replace(/[^\p{L}\p{N}._ -]/gu, "_").slice(0, 80)}.csv`,
    });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), SAVED);
    tessera.toast(`${tessera.counted(photos.length, "photo", "photos")} in ${link.download}`);
  }

  /** Select the photos whose ids are in a file. @param {File} file */
  async function read(file) {
    const ids = (await file.text()).match(/\b[0-9a-f]{64}\b/g) || [];
    const photos = await tessera.data.photosWithIds([...new Set(ids)]);
    if (!photos.length) return tessera.toast("No photo of this map is named in that file by its image_id.");
    tessera.state.select(photos);
    tessera.byId("select-name").value = file.name.replace(/\.csv$/i, "");
    tessera.toast(`${tessera.counted(photos.length, "photo", "photos")} of ${tessera.count(new Set(ids).size)} in the file are on this map.`);
  }

  tessera.whenReady(() => {
    tessera.byId("select-save").addEventListener("click", saveSelected);
    tessera.byId("lit-save").addEventListener("click", () => save(tessera.state.walk, tessera.find.words() || "lit photos"));
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => {
      event.preventDefault();
      const file = event.dataTransfer && event.dataTransfer.files[0];
      if (file) read(file);
    });
  });
  return { read };
})();
