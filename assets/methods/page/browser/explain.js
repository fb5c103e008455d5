"use strict";

/** What a model looks at in a photo: its maps, blended over the photo by a slider. */
tessera.explain = (() => {
  const OPACITY = 60; // per cent, at first
  /** @type {Record<string, string>} */
  const NAMES = { seen: "Seen", hidden: "Hidden", deconvnet: "Deconvnet" };
  /** The photos that were asked for as they are, though they are blurred. @type {Set<number>} */
  const asked = new Set();
  let opacity = OPACITY;

  /** @param {number} photo @returns {boolean} whether it has maps */
  const has = (photo) => tessera.data.map().explained.includes(photo);

  /**
   * Make the controls of a photo's maps; they draw into the frame of the photo.
   * @param {number} photo @param {HTMLElement} frame @returns {HTMLElement | null} none if no photo has maps
   */
  function controlsOf(photo, frame) {
    const many = tessera.data.map().explained.length, box = tessera.element("div", { class: "explain" });
    if (!many) return null;
    if (!has(photo)) {
      const others = tessera.counted(many, "photo was", "photos were");
      box.append(tessera.element("p", { class: "note", text: `What the model looks at here is not known: ${others} examined, those with the highest scores.` }));
      return box;
    }
    tessera.data.load("maps").then(({ maps }) => fill(box, frame, photo, maps[photo]));
    return box;
  }

  /**
   * @param {HTMLElement} box @param {HTMLElement} frame @param {number} photo
   * @param {MapsOfPhoto} about
   */
  function fill(box, frame, photo, about) {
    const before = [...frame.childNodes];
    const words = tessera.element("p", { class: "note" });
    const slider = tessera.element("input", { type: "range", min: 0, max: 100, step: 1 });
    const blend = tessera.element("label", { hidden: "" }, tessera.element("span", { text: "Map over the photo" }), slider);
    let kind = "";
    const buttons = ["", ...about.maps.map((one) => one.kind)].map((name) =>
      tessera.element("button", { type: "button", "data-kind": name, text: name ? NAMES[name] || name : "Photo", onclick: () => choose(name) }));

    /** @param {string} name of the map, or nothing for the photo alone */
    function choose(name) {
      if (!kind && name) before.splice(0, before.length, ...frame.childNodes);
      kind = name;
      for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.kind === name));
      blend.hidden = !name;
      const found = about.maps.find((one) => one.kind === name);
      words.textContent = found ? `${found.words} Model: ${about.model}.` : "";
      if (found) showMap(found);
      else frame.replaceChildren(...before);
    }

    /** @param {MapOfPhoto} found */
    function showMap(found) {
      const { blurred, clear } = tessera.data.map();
      const isBlurred = blurred.includes(photo), isClear = !isBlurred || asked.has(photo);
      const below = tessera.data.versioned(isBlurred && isClear ? `${about.file}-clear.jpg` : `${about.file}.jpg`);
      const photoImage = tessera.element("img", { src: below, alt: tessera.data.nameOf(photo) });
      // Not even loaded where it would show what is not asked for.
      const src = isClear || !found.showsPhoto ? tessera.data.versioned(`${about.file}-${found.kind}.jpg`) : null;
      const map = tessera.element("img", { class: "map", src, alt: found.words });
      const write = () => {
        opacity = Number(slider.value);
        map.style.opacity = String(opacity / 100);
        slider.setAttribute("aria-valuetext", `${opacity} per cent of the map`);
      };
      slider.value = String(opacity);
      slider.oninput = write;
      write();
      frame.replaceChildren(
        tessera.element("div", { class: "stack" }, photoImage, src ? map : null),
        ...(isClear || !clear ? [] : [tessera.element("button", { type: "button", text: "Show this photo as it is", onclick: () => { allow(photo); showMap(found); } })]),
      );
    }

    // The dialog goes to other photos by these keys.
    slider.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => event.stopPropagation());
    box.replaceChildren(
      tessera.element("div", { class: "switch", role: "group", "aria-label": "What the model looks at" }, ...buttons),
      blend,
      words,
    );
    choose("");
  }

  /** Show a blurred photo as it is below its maps from now on. @param {number} photo */
  const allow = (photo) => { asked.add(photo); };

  return { controlsOf, allow, has };
})();
