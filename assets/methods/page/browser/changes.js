"use strict";

/** What came, went and moved since the map before, map by map, as far as this page knows. */
tessera.changes = (() => {
  const map = tessera.data.map();
  /** The number of the map whose changes are lit; -1 if none. */
  let chosen = -1;

  /** @returns {Promise<MapChanges[]>} the changes of each map, the newest first */
  const maps = async () => (map.changes ? (await tessera.data.load("changes")).maps : []);

  /** @param {MapChanges} one @returns {string} */
  const nameOf = (one) => (one.madeAt ? `Map ${one.number}, ${one.madeAt}` : `Map ${one.number}`);

  /** @param {MapChanges} one @returns {string} */
  function inWords({ many: { came, went, moved }, anew }) {
    const parts = [[came, "new"], [moved, "moved"], [went, "gone"]].filter(([many]) => many);
    const counts = parts.map(([many, word]) => `${tessera.count(Number(many))} ${word}`).join(", ");
    return [counts, anew].filter(Boolean).join(". ") || "no changes";
  }

  /** @param {MapChanges} one @returns {string} the line above the photos that are gone */
  function goneInWords({ many: { went: many }, went }) {
    if (!many) return "";
    return went.length < many ? `Gone from the map, the first ${tessera.count(went.length)} of ${tessera.count(many)}:` : "Gone from the map:";
  }

  /** Light what came and moved with a map. @param {number} number of the map; -1 for none */
  async function show(number) {
    if (!map.changes) return;
    const found = (await maps()).find((one) => one.number === number);
    chosen = found ? number : -1;
    for (const button of tessera.byId("changes-maps").querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.map) === chosen));
    }
    const gone = tessera.byId("changes-gone"), text = tessera.byId("changes-text");
    gone.replaceChildren(...(found ? found.went : []).map((uri) => tessera.element("li", { text: uri, dir: "auto" })));
    text.textContent = found ? goneInWords(found) : "";
    const order = found ? [...found.came, ...found.moved] : [];
    if (!found || !order.length) tessera.state.light("changes", null);
    else {
      const lit = new Uint8Array(map.photos);
      for (const photo of order) lit[photo] = 1;
      tessera.state.light("changes", { lit, order, words: `came or moved with map ${found.number}`, clear: () => show(-1) });
    }
    tessera.emit("changes");
  }

  /** What became of each photo with the newest map: 0 nothing, 1 new, 2 moved. */
  async function codes() {
    const [newest] = await maps(), found = new Uint8Array(map.photos);
    for (const photo of newest.moved) found[photo] = 2;
    for (const photo of newest.came) found[photo] = 1;
    return found;
  }

  async function list() {
    tessera.byId("changes-maps").replaceChildren(...(await maps()).map((one) => {
      const button = tessera.element(
        "button", { type: "button", "aria-pressed": "false", "data-map": one.number },
        tessera.element("span", { class: "text", text: nameOf(one), dir: "auto" }),
        tessera.element("span", { class: "many", text: inWords(one) }),
      );
      button.addEventListener("click", () => show(chosen === one.number ? -1 : one.number));
      return tessera.element("li", {}, button);
    }));
  }

  tessera.whenReady(() => {
    if (map.changes) list();
    else tessera.byId("changes-text").textContent = "No earlier map is known to this page. Once the collection is mapped again, what came, went and moved is listed here.";
  });
  return { show, codes, chosen: () => chosen };
})();
