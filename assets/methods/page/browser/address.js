"use strict";

/** The address of the page holds what is shown, so that a link leads to the same sight. */
tessera.address = (() => {
  const WAIT = 250; // ms
  const ID_LETTERS = 16, MOST_SELECTED = 200;
  let wait = 0, isReading = false;

  /** @param {number} photo */
  const shortId = (photo) => tessera.data.idOf(photo).slice(0, ID_LETTERS);

  async function write() {
    const { view, selected } = tessera.state, { row, column, zoom } = tessera.map.sight();
    const at = tessera.colour.now(), words = new URLSearchParams();
    const photo = tessera.photo.current(), like = tessera.similar.chosen();
    const few = selected.size <= MOST_SELECTED ? [...selected] : [];
    await tessera.data.loadFor("ids", [photo, like, ...few].filter((one) => one >= 0));
    if (view !== "grid") words.set("view", view);
    words.set("at", `${row.toFixed(2)},${column.toFixed(2)},${zoom.toFixed(2)}`);
    if (!tessera.landmarks.isOn()) words.set("landmarks", "off");
    if (at.by !== "none") words.set("colour", at.by);
    if (at.kind === "range" && (at.range[0] > 0 || at.range[1] < 1)) words.set("range", at.range.join(","));
    if (at.values.length) words.set("values", at.values.join(","));
    if (tessera.find.words()) words.set("find", tessera.find.words());
    if (tessera.changes.chosen() >= 0) words.set("changes", String(tessera.changes.chosen()));
    if (like >= 0) words.set("like", shortId(like));
    if (few.length) words.set("selected", few.map(shortId).join(","));
    const name = tessera.byId("select-name").value.trim();
    if (name && selected.size) words.set("name", name);
    if (photo >= 0) words.set("photo", shortId(photo));
    // As in addresses that people write.
    const text = words.toString().replaceAll("%2C", ",");
    if (!isReading) history.replaceState(null, "", `#${text}`);
  }

  async function read() {
    isReading = true;
    const words = new URLSearchParams(location.hash.slice(1));
    /** @param {string} name */
    const numbers = (name) => (words.get(name) || "").split(",").filter(Boolean).map(Number).filter(Number.isFinite);
    /** @param {string} name */
    const photos = async (name) => tessera.data.photosWithIds((words.get(name) || "").split(",").filter((id) => /^[0-9a-f]{8,64}$/.test(id)));
    try {
      tessera.state.show(words.get("view") === "plane" ? "plane" : "grid");
      const [row, column, zoom] = numbers("at");
      if (zoom !== undefined) tessera.map.look({ row, column, zoom });
      tessera.landmarks.turn(words.get("landmarks") !== "off");
      const range = numbers("range");
      await tessera.colour.colour(words.get("colour") || "none", {
        range: range.length === 2 ? range : undefined, values: numbers("values"),
      });
      await tessera.find.find(words.get("find") || "");
      if (words.get("changes")) await tessera.changes.show(Number(words.get("changes")));
      if (words.get("selected")) tessera.state.select(await photos("selected"));
      if (words.get("name")) tessera.byId("select-name").value = words.get("name");
      const [like] = await photos("like");
      if (like !== undefined) await tessera.similar.lightLike(like);
      const [photo] = await photos("photo");
      if (photo !== undefined) await tessera.photo.open(photo);
      if (zoom !== undefined) tessera.map.look({ row, column, zoom });
    } finally {
      isReading = false;
    }
  }

  function changed() {
    clearTimeout(wait);
    wait = setTimeout(write, WAIT);
  }

  tessera.whenReady(() => {
    for (const what of ["view", "lit", "selected", "photo", "filter", "similar", "landmarks", "changes"]) tessera.on(what, changed);
    tessera.map.onMoveEnd(changed);
    tessera.byId("select-name").addEventListener("input", changed);
    addEventListener("hashchange", read);
  });
  return { read };
})();
