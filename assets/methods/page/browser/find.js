"use strict";

/** Find photos by name, folder and label; and walk through the photos that are lit. */
tessera.find = (() => {
  const WAIT = 160; // ms after the last letter
  const MOST_SHOWN = 40, SIDE = 52;
  let words = "", wait = 0;

  /** Light the photos that have all words in their name, folder or label. @param {string} text */
  async function find(text) {
    words = text.trim();
    tessera.byId("find-text").value = text;
    if (!words) return tessera.state.light("find", null);
    const [facts] = await Promise.all([tessera.data.load("facts"), tessera.data.loadAll("names")]);
    if (words !== text.trim()) return;
    const { photos } = tessera.data.map();
    const wanted = words.toLocaleLowerCase().split(/\s+/);
    const folders = facts.folders.map((folder) => folder.toLocaleLowerCase());
    // What all photos have in common tells none of them from others.
    const common = folders.reduce((common, folder) => sharedBeginning(common, folder), folders[0] || "").length;
    const lit = new Uint8Array(photos);
    for (let photo = 0; photo < photos; photo++) {
      const own = `${folders[facts.folderCodes[photo]].slice(common)}/${tessera.data.nameOf(photo)} ${tessera.data.labelOf(photo)}`.toLocaleLowerCase();
      if (wanted.every((word) => own.includes(word))) lit[photo] = 1;
    }
    tessera.state.light("find", { lit, words: `match “${words}”`, clear: () => find("") });
  }

  /** @param {string} one @param {string} other */
  function sharedBeginning(one, other) {
    let n = 0;
    while (n < one.length && n < other.length && one[n] === other[n]) n++;
    return one.slice(0, n);
  }

  /** @param {number} step 1 for the next of the lit photos, -1 for the one before */
  function walk(step) {
    const { walk, focus } = tessera.state;
    if (!walk.length) return;
    const place = walk.indexOf(focus);
    const next = walk[place < 0 ? (step > 0 ? 0 : walk.length - 1) : (place + step + walk.length) % walk.length];
    tessera.keys.goTo(next, 48);
  }

  function showLit() {
    const { walk, lit } = tessera.state;
    tessera.byId("lit").hidden = !lit;
    if (!lit) return;
    const because = tessera.state.litBecause().map((reason) => reason.words).join(" and ");
    tessera.byId("lit-title").textContent = tessera.counted(walk.length, "photo", "photos");
    const more = walk.length > MOST_SHOWN ? ` The first ${MOST_SHOWN} are here.` : "";
    const hint = words ? " Names, folders and labels are looked through; for scores, copies and dates choose a colour below." : "";
    tessera.byId("lit-text").textContent = walk.length ? `${walk.length === 1 ? "It" : "They"} ${because}.${more}` : `None ${because}.${hint}`;
    tessera.pictures.fill(tessera.byId("lit-photos"), walk.slice(0, MOST_SHOWN), SIDE);
    for (const name of ["lit-previous", "lit-next", "lit-save"]) tessera.byId(name).disabled = !walk.length;
    tessera.say(`${tessera.counted(walk.length, "photo", "photos")} ${because}`);
    showCurrent();
  }

  function showCurrent() {
    for (const button of tessera.byId("lit-photos").querySelectorAll("button")) {
      const isCurrent = Number(button.dataset.photo) === tessera.state.focus;
      if (isCurrent) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }

  tessera.whenReady(() => {
    const input = tessera.byId("find-text");
    input.addEventListener("input", () => {
      clearTimeout(wait);
      wait = setTimeout(() => find(input.value), WAIT);
    });
    tessera.byId("find").addEventListener("submit", async (/** @type {Event} */ event) => {
      event.preventDefault();
      clearTimeout(wait);
      await find(input.value);
      walk(1);
    });
    input.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Escape") { find(""); tessera.byId("map").focus(); }
    });
    tessera.byId("lit-next").addEventListener("click", () => walk(1));
    tessera.byId("lit-previous").addEventListener("click", () => walk(-1));
    tessera.byId("lit-end").addEventListener("click", tessera.state.lightAll);
    tessera.on("lit", showLit);
    tessera.on("colour", showLit);
    tessera.on("focus", showCurrent);
  });
  return { find, walk, words: () => words };
})();
