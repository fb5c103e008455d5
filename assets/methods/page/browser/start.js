"use strict";

/** Starts the page: its title, the views, the panel, and what its address asks for. */
(() => {
  const map = tessera.data.map(), state = tessera.state;

  function nameThePage() {
    document.title = `${map.title}: photo map`;
    tessera.byId("title").textContent = map.title;
    tessera.byId("count").textContent = tessera.counted(map.photos, "photo", "photos");
    tessera.byId("cells").textContent = `, ${map.columns} × ${map.rows} cells`;
  }

  function startViews() {
    for (const button of tessera.byId("views").children) button.addEventListener("click", () => state.show(button.dataset.view));
    tessera.on("view", () => {
      tessera.showChosen("views", "view", state.view);
      tessera.say(state.view === "grid" ? "Grid: each photo has a cell" : "Plane: near photos look alike");
    });
    /** @type {Record<string, () => void>} */
    const zooms = { in: () => tessera.map.zoomBy(1), out: () => tessera.map.zoomBy(-1), all: () => tessera.map.showAll() };
    for (const button of tessera.byId("zoom").querySelectorAll("[data-zoom]")) button.addEventListener("click", zooms[button.dataset.zoom]);
  }

  function startPanel() {
    const button = tessera.byId("panel-button"), panel = tessera.byId("panel");
    /** @param {boolean} isShown */
    const show = (isShown) => {
      panel.hidden = !isShown;
      button.setAttribute("aria-expanded", String(isShown));
    };
    button.addEventListener("click", () => show(panel.hidden));
    if (matchMedia("(max-width: 760px)").matches) show(false);
    tessera.on("lit", () => { if (state.lit) show(true); });
    if (!map.blurred.length) return;
    tessera.byId("blurred").hidden = false;
    const how = map.clear ? " Open one to see it as it is." : " This page does not have them as they are.";
    tessera.byId("blurred-text").textContent =
      `${tessera.counted(map.blurred.length, "photo has", "photos have")} a score above ${map.blurAbove} and ${map.blurred.length === 1 ? "is" : "are"} drawn grey and blurred.${how}`;
  }

  nameThePage();
  tessera.startParts();
  startViews();
  startPanel();
  tessera.address.read().then(() => {
    document.documentElement.dataset.ready = "true";
  });
})();
