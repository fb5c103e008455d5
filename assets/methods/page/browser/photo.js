"use strict";

/** One photo, opened: as large as the page can show it, its facts, and the most similar ones. */
tessera.photo = (() => {
  const LARGE = 512, SMALL = 56;
  let open = -1;

  /** @param {number} photo */
  async function show(photo) {
    open = photo;
    tessera.card.hide();
    tessera.state.focusOn(photo);
    tessera.emit("photo");
    const dialog = tessera.byId("photo");
    if (!dialog.open) dialog.showModal();
    fill(photo, [], "");
    await tessera.card.loaded(photo);
    const similar = await tessera.data.nearestTo(photo);
    if (open !== photo) return;
    fill(photo, similar, tessera.data.uriOf(photo));
  }

  /** @param {number} photo @param {number[]} similar the nearest first @param {string} uri or nothing, before it is known */
  function fill(photo, similar, uri) {
    const list = tessera.element("ul", { class: "photos", "aria-label": "The most similar photos" });
    tessera.pictures.fill(list, similar, SMALL);
    const select = tessera.element("button", { type: "button", onclick: () => { tessera.state.toggle(photo); write(); } });
    const write = () => { select.textContent = tessera.state.selected.has(photo) ? "Take out of the selection" : "Select"; };
    write();
    const end = tessera.element("button", { type: "button", class: "quiet", text: "Close", onclick: close });
    tessera.byId("photo").replaceChildren(tessera.element(
      "div", { class: "inside" },
      pictureOf(photo, uri),
      tessera.element(
        "div", { class: "facts" },
        tessera.element(
          "div", { class: "head" },
          tessera.element("h2", { id: "photo-name", text: tessera.data.nameOf(photo) || "Photo", dir: "auto" }),
          end,
        ),
        factList(photo, uri),
        tessera.element(
          "div", { class: "row" },
          select,
          tessera.data.map().neighbours
            ? tessera.element("button", { type: "button", text: "Light similar photos", onclick: () => { close(); tessera.similar.lightLike(photo); } })
            : null,
        ),
        similar.length ? tessera.element("h3", { text: `The ${tessera.counted(similar.length, "most similar photo", "most similar photos")}` }) : null,
        list,
      ),
    ));
    end.focus({ preventScroll: true });
  }

  /** @param {number} photo @param {string} uri */
  function factList(photo, uri) {
    const map = tessera.data.map(), facts = tessera.data.has("facts"), list = tessera.element("dl");
    /** @param {string} name @param {string} text */
    const add = (name, text) => {
      if (text) list.append(tessera.element("dt", { text: name }), tessera.element("dd", { text, dir: "auto" }));
    };
    const score = tessera.data.scoreOf(photo);
    if (score !== null) add("Score", `${map.scoreName} ${score.toFixed(4)}`);
    add("Label", tessera.data.labelOf(photo));
    if (facts) {
      add("Size", tessera.card.sizeInWords(photo));
      if (!Number.isNaN(facts.taken[photo])) add("Taken", tessera.date(facts.taken[photo]));
      add("Copies", (facts.copies[photo] || []).filter((/** @type {string} */ one) => one !== uri).join("\n"));
      if (facts.groups[photo]) {
        let others = -1;
        for (const group of facts.groups) if (group === facts.groups[photo]) others++;
        add("Nearly the same", tessera.counted(others, "other photo", "other photos"));
      }
    }
    const { row, column } = tessera.data.cellOf(photo);
    add("Cell", `row ${row + 1}, column ${column + 1}`);
    add("File", uri);
    return list;
  }

  /** The photo's file where the page may read it, else its tile. @param {number} photo @param {string} uri */
  function pictureOf(photo, uri) {
    const frame = tessera.element("div", { class: "shown" });
    const { blurred, clear } = tessera.data.map();
    frame.append(tessera.pictures.picture(photo, LARGE));
    const column = tessera.element("div", { class: "picture" }, frame, tessera.explain.controlsOf(photo, frame));
    if (!blurred.includes(photo)) replaceBy(frame, photo, [addressOf(uri)]);
    else if (clear) frame.append(tessera.element("button", { type: "button", text: "Show this photo as it is", onclick: () => showClear(frame, photo, uri) }));
    return column;
  }

  /** @param {HTMLElement} frame @param {number} photo @param {string} uri */
  async function showClear(frame, photo, uri) {
    tessera.explain.allow(photo);
    await tessera.data.loadFor("ids", [photo]);
    replaceBy(frame, photo, [addressOf(uri), tessera.data.versioned(`clear/${tessera.data.idOf(photo)}.jpg`)]);
  }

  /** Show the first of these addresses that is an image. @param {HTMLElement} frame @param {number} photo @param {string[]} addresses */
  function replaceBy(frame, photo, addresses) {
    const [address, ...others] = addresses.filter(Boolean);
    if (!address) return;
    const image = tessera.element("img", { alt: tessera.data.nameOf(photo) });
    image.addEventListener("load", () => frame.replaceChildren(image));
    image.addEventListener("error", () => replaceBy(frame, photo, others));
    image.src = address;
  }

  /** @param {string} uri @returns {string} where a page that was opened from a disk reads the file */
  function addressOf(uri) {
    if (location.protocol !== "file:") return "";
    if (uri.startsWith("file:///")) return uri;
    return uri.startsWith("/") ? `file://${uri.split("/").map(encodeURIComponent).join("/")}` : "";
  }

  const close = () => tessera.byId("photo").close();

  /** @param {number} step 1 for the next of the lit photos, or of all; -1 for the one before */
  function step(step) {
    const walk = tessera.state.walk;
    const many = walk.length || tessera.data.map().photos;
    const place = walk.length ? walk.indexOf(open) : open;
    const next = (place + step + many) % many;
    show(walk.length ? walk[next] : next);
  }

  tessera.whenReady(() => {
    const dialog = tessera.byId("photo");
    dialog.addEventListener("close", () => {
      open = -1;
      tessera.card.hide();
      tessera.emit("photo");
      tessera.byId("map").focus({ preventScroll: true });
    });
    dialog.addEventListener("click", (/** @type {MouseEvent} */ event) => { if (event.target === dialog) close(); });
    dialog.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "ArrowRight") step(1);
      if (event.key === "ArrowLeft") step(-1);
    });
  });
  return { open: show, current: () => open };
})();
