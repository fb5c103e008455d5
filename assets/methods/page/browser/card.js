"use strict";

/** The card of a photo, beside the pointer or the keyboard's cursor. */
tessera.card = (() => {
  const SIDE = 76, AWAY = 16, MARGIN = 8;
  let shown = -1;

  /** @param {number} photo @returns {string} facts have to be there */
  function sizeInWords(photo) {
    const { widths, heights, bytes } = /** @type {Facts} */ (tessera.data.has("facts"));
    return `${widths[photo]} × ${heights[photo]} px, ${tessera.bytes(bytes[photo])}`;
  }

  /** @param {number} photo @returns {string[]} its facts, as far as they have been loaded */
  function factsOf(photo) {
    const facts = tessera.data.has("facts"), found = [];
    const score = tessera.data.scoreOf(photo), label = tessera.data.labelOf(photo);
    if (score !== null) found.push(`${tessera.data.map().scoreName} ${score.toFixed(2)}`);
    if (label) found.push(label);
    if (tessera.explain.has(photo)) found.push("With maps of what the model looks at");
    if (facts) {
      found.push(sizeInWords(photo));
      if (!Number.isNaN(facts.taken[photo])) found.push(tessera.date(facts.taken[photo]));
      const copies = (facts.copies[photo] || []).length;
      if (copies) found.push(`${copies} files with the same content`);
      if (facts.groups[photo]) found.push("Nearly the same as another photo");
    }
    return found;
  }

  /** @param {number} photo @returns {string} */
  function inWords(photo) {
    const name = tessera.data.nameOf(photo) || `Photo ${photo + 1}`;
    return [name, ...factsOf(photo)].join(", ");
  }

  /** Have what the card says loaded. @param {number} photo */
  const loaded = (photo) =>
    Promise.all([tessera.data.loadFor("names", [photo]), tessera.data.load("facts")]);

  /** @param {number} photo */
  function fill(photo) {
    if (shown === photo) return;
    shown = photo;
    const write = () => {
      tessera.byId("card").replaceChildren(
        tessera.pictures.picture(photo, SIDE),
        tessera.element(
          "div", { class: "about" },
          tessera.element("p", { class: "name", text: tessera.data.nameOf(photo), dir: "auto" }),
          ...factsOf(photo).map((fact) => tessera.element("p", { class: "fact", text: fact, dir: "auto" })),
        ),
      );
    };
    write();
    loaded(photo).then(() => { if (shown === photo) write(); });
  }

  /** @param {number} photo @param {number} x @param {number} y px of the page */
  function showAt(photo, x, y) {
    showBesideBox(photo, { left: x, right: x, top: y, bottom: y });
  }

  /** @param {number} photo @param {HTMLElement} element */
  const showBeside = (photo, element) => showBesideBox(photo, element.getBoundingClientRect());

  /** @param {number} photo @param {{left: number, right: number, top: number, bottom: number}} box */
  function showBesideBox(photo, box) {
    const card = tessera.byId("card");
    fill(photo);
    card.hidden = false;
    const { width, height } = card.getBoundingClientRect();
    const right = box.right + AWAY;
    const x = right + width + MARGIN < innerWidth ? right : box.left - AWAY - width;
    const below = box.bottom + AWAY;
    const y = below + height + MARGIN < innerHeight ? below : box.top - AWAY - height;
    card.style.left = `${Math.max(MARGIN, Math.min(x, innerWidth - width - MARGIN))}px`;
    card.style.top = `${Math.max(MARGIN, y)}px`;
  }

  function hide() {
    shown = -1;
    tessera.byId("card").hidden = true;
  }

  return { showAt, showBeside, showBesideBox, hide, inWords, sizeInWords, loaded };
})();
