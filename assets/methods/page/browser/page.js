"use strict";

/**
 * The one name of this page. Each file adds a part: `tessera.find`, `tessera.select`, ...
 * File names, labels and other data become text, never markup: use `tessera.element`.
 * @type {Tessera}
 */
const tessera = /** @type {any} */ ({});

(() => {
  /** @type {Array<() => void>} */
  const starts = [];
  /** @type {Map<string, Array<() => void>>} */
  const listeners = new Map();
  let toastEnds = 0;

  /** Have a part started once the page and its data are there. @param {() => void} start */
  tessera.whenReady = (start) => starts.push(start);

  /** Start all parts, in the order of their files. */
  tessera.startParts = () => starts.forEach((start) => start());

  /** @param {string} what happens @param {() => void} listener */
  tessera.on = (what, listener) => {
    listeners.set(what, [...(listeners.get(what) || []), listener]);
  };

  /** Tell all who listen. @param {string} what */
  tessera.emit = (what) => (listeners.get(what) || []).forEach((listener) => listener());

  /** @param {string} id @returns {any} */
  tessera.byId = (id) => document.getElementById(id);

  /**
   * Make an element.
   * @param {string} tag
   * @param {Record<string, any>} about attributes; `text` is its text, `onclick` is called
   * @param {...(Node | null)} children
   * @returns {any}
   */
  tessera.element = (tag, about = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(about)) {
      if (name === "text") made.textContent = value;
      else if (name === "onclick") made.addEventListener("click", value);
      else if (value !== null && value !== undefined) made.setAttribute(name, value);
    }
    made.append(...children.filter((child) => child !== null));
    return made;
  };

  /** Say something to those who cannot see the page. @param {string} text */
  tessera.say = (text) => { tessera.byId("said").textContent = text; };

  /** Show a sentence for a while. @param {string} text */
  tessera.toast = (text) => {
    const toast = tessera.byId("toast");
    toast.textContent = text;
    toast.hidden = false;
    tessera.say(text);
    clearTimeout(toastEnds);
    toastEnds = setTimeout(() => { toast.hidden = true; }, 4000);
  };

  const whole = new Intl.NumberFormat("en");
  /** @param {number} number @returns {string} */
  tessera.count = (number) => whole.format(number);

  /** @param {number} n @param {string} one @param {string} several */
  tessera.counted = (n, one, several) => `${whole.format(n)} ${n === 1 ? one : several}`;

  /** @param {number} bytes @returns {string} */
  tessera.bytes = (bytes) => {
    if (bytes < 1e3) return `${bytes} bytes`;
    return bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
  };

  /** @param {number} seconds since 1970, by the camera's clock @param {boolean} day alone */
  tessera.date = (seconds, day = false) => {
    const text = new Date(seconds * 1000).toISOString();
    return day ? text.slice(0, 10) : text.slice(0, 16).replace("T", " ");
  };

  /** Pixels of the screen in a px, as far as they are drawn. @returns {number} */
  tessera.pixelRatio = () => Math.min(2, devicePixelRatio || 1);

  /**
   * Show which of several buttons is chosen.
   * @param {string} group the id of their element @param {string} by their data attribute
   * @param {string} value that of the chosen one
   */
  tessera.showChosen = (group, by, value) => {
    for (const button of tessera.byId(group).children) {
      button.setAttribute("aria-pressed", String(button.dataset[by] === value));
    }
  };

  /** Whether the system asks for less motion. @returns {boolean} */
  tessera.isCalm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

  /** A colour of page.css, by its name. @param {string} name @returns {string} */
  tessera.colourNamed = (name) => getComputedStyle(document.body).getPropertyValue(`--${name}`).trim();

  /** @param {number} colour 0xRRGGBB @returns {string} as styles have it, such as #1f6f8b */
  tessera.hex = (colour) => `#${colour.toString(16).padStart(6, "0")}`;

  /** @param {string} hex such as #1f6f8b @returns {number[]} red, green and blue */
  tessera.rgb = (hex) => [1, 3, 5].map((place) => parseInt(hex.slice(place, place + 2), 16));
})();
