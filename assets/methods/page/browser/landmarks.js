"use strict";

/** Landmarks: groups of like photos, with a photo and a name each. They give way as one zooms in. */
tessera.landmarks = (() => {
  const map = tessera.data.map(), state = tessera.state, places = tessera.places;
  const PICTURE = 30; // px
  // The mean side of groups that have landmarks, in px. In the plane photos lie closer together.
  const ROOM = { grid: 170, plane: 220 }, ROOM_ON_A_PHONE = { grid: 110, plane: 140 }, PHONE = 600;
  const FEWEST = 4, SMALLEST = 48; // groups; px of a group's side
  const LARGEST = 0.85; // of the map's side; a larger group is all that one sees
  const PHOTOS_SPEAK = 64; // px of a cell, from which photos need no names
  const NEAR = 5, MARGIN = 6; // px
  const CLICK = 4; // px; what moves further is no click
  /** Set before anything is shown. @type {Groups} */
  let groups;
  let isOn = true;
  /** @type {Map<number, {button: HTMLElement, width: number, height: number}>} */
  const made = new Map();
  /** The groups whose landmarks are there now. @type {number[]} */
  let shown = [];
  /** @type {HTMLElement} */
  let layer;

  /** @param {number} group @returns {string} */
  const nameOf = (group) => groups.names[group];

  /** @param {number} group @returns {string} */
  function inWords(group) {
    const name = nameOf(group), many = tessera.counted(groups.many[group], "photo", "photos");
    if (!name) return many;
    return groups.isGuess ? `perhaps ${name}, ${many}` : `${name}, ${many}`;
  }

  /** Where most of a group's photos are, in cells. @param {number} group */
  function boxOf(group) {
    const from = 4 * group;
    if (state.view === "grid") {
      const [top, left, bottom, right] = groups.gridBoxes.subarray(from, from + 4);
      return { left, top, right: right + 1, bottom: bottom + 1 };
    }
    const [x0, y0, x1, y1] = groups.planeBoxes.subarray(from, from + 4);
    return { left: places.planeX(x0), top: places.planeY(y0), right: places.planeX(x1), bottom: places.planeY(y1) };
  }

  /** The groups that have landmarks at this zoom, the largest first. @param {Seen} seen */
  function wanted({ cell, width, height }) {
    if (!groups || !isOn || state.lit || cell >= PHOTOS_SPEAK || tessera.marks.isTravelling()) return [];
    const room = (width < PHONE ? ROOM_ON_A_PHONE : ROOM)[state.view], found = [];
    const many = Math.max(FEWEST, Math.round(map.photos * (cell / room) ** 2));
    for (let group = 0; group < groups.names.length; group++) {
      if (many < groups.first[group] || many >= groups.end[group]) continue;
      const side = Math.sqrt(groups.many[group]) * cell;
      if (side >= SMALLEST && side < LARGEST * Math.min(width, height)) found.push(group);
    }
    return found;
  }

  /** Put landmarks where their groups are; of those that would overlap, the largest is there. */
  function place() {
    const seen = tessera.map.seen(), taken = [controls()], found = [];
    for (const group of wanted(seen)) {
      const box = placeFor(group, seen, taken);
      if (!box) continue;
      taken.push(box);
      found.push({ group, box });
    }
    // Read in the order in which one sees them.
    /** @param {{box: Area}} found */
    const line = ({ box }) => Math.round(box.top / 60);
    found.sort((one, other) => line(one) - line(other) || one.box.left - other.box.left);
    show(found.map(({ group }) => group));
    for (const { group, box } of found) {
      landmark(group).button.style.transform = `translate(${Math.round(box.left)}px, ${Math.round(box.top)}px)`;
    }
  }

  /** The box in px for a landmark; nothing if there is no room. @param {number} group @param {Seen} seen @param {Area[]} taken */
  function placeFor(group, seen, taken) {
    const { left, top, cell, width, height } = seen, { width: wide, height: high } = landmark(group);
    const photo = (state.view === "grid" ? groups.inGrid : groups.inPlane)[group];
    const x = left + places.xs(state.view)[photo] * cell, y = top + places.ys(state.view)[photo] * cell;
    if (x < 0 || y < 0 || x > width || y > height) return null;
    const box = boxOf(group), low = top + box.bottom * cell + 8, high0 = top + box.top * cell - high - 8;
    // In the plane photos lie close together, and are hidden by what lies on them.
    const tops = state.view === "grid" ? [y - high / 2] : [low, high0, y - high / 2];
    for (const wantedTop of tops) {
      const at = {
        left: Math.min(Math.max(x - wide / 2, MARGIN), width - wide - MARGIN),
        top: Math.min(Math.max(wantedTop, MARGIN), height - high - MARGIN),
        width: wide, height: high,
      };
      if (!taken.some((other) => overlap(at, other))) return at;
    }
    return null;
  }

  /** @param {Area} one @param {Area} other */
  const overlap = (one, other) =>
    one.left < other.left + other.width + NEAR && other.left < one.left + one.width + NEAR &&
    one.top < other.top + other.height + NEAR && other.top < one.top + one.height + NEAR;

  /** Where the buttons lie that zoom, in px of the map. */
  function controls() {
    const frame = tessera.byId("map").getBoundingClientRect(), own = tessera.byId("zoom").getBoundingClientRect();
    return { left: own.left - frame.left, top: own.top - frame.top, width: own.width, height: own.height };
  }

  /** Have these landmarks there. @param {number[]} wantedGroups in the order in which they are read */
  function show(wantedGroups) {
    if (wantedGroups.length === shown.length && wantedGroups.every((group, place) => group === shown[place])) return;
    const focused = shown.find((group) => landmark(group).button === document.activeElement);
    shown = wantedGroups;
    for (const child of [...layer.children]) if (!shown.includes(Number(child.getAttribute("data-group")))) child.remove();
    shown.forEach((group, place) => {
      const { button } = landmark(group), there = layer.children[place];
      if (there !== button) layer.insertBefore(button, there || null);
    });
    if (focused !== undefined && !shown.includes(focused)) tessera.byId("map").focus({ preventScroll: true });
    else if (focused !== undefined) landmark(focused).button.focus({ preventScroll: true });
    reachable(focused !== undefined && shown.includes(focused) ? focused : shown[0]);
  }

  /** Let Tab come to one of them, from which the arrows go to the others. @param {number} group */
  function reachable(group) {
    for (const other of shown) landmark(other).button.tabIndex = other === group ? 0 : -1;
  }

  /** The element of a group's landmark. @param {number} group */
  function landmark(group) {
    const known = made.get(group);
    if (known) return known;
    const name = nameOf(group), large = groups.many[group] >= map.photos / 12;
    const button = tessera.element(
      "button",
      {
        type: "button", class: `landmark${large ? " large" : ""}${groups.isGuess ? " guess" : ""}`,
        "data-group": group, "aria-label": `Go to ${inWords(group)}`,
      },
      tessera.pictures.picture(groups.photo[group], PICTURE),
      name ? tessera.element("span", { text: name, dir: "auto" }) : null,
    );
    let pressedAt = [0, 0];
    button.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => { pressedAt = [event.clientX, event.clientY]; });
    button.addEventListener("click", (/** @type {MouseEvent} */ event) => {
      event.stopPropagation();
      const isKey = event.detail === 0;
      if (isKey || Math.hypot(event.clientX - pressedAt[0], event.clientY - pressedAt[1]) < CLICK) goTo(group, isKey);
    });
    layer.append(button);
    const found = { button, width: button.offsetWidth, height: button.offsetHeight };
    button.remove();
    made.set(group, found);
    return found;
  }

  /** Show a group alone. @param {number} group @param {boolean} byKey then the cursor goes there */
  function goTo(group, byKey) {
    tessera.say(inWords(group));
    tessera.map.fit(boxOf(group));
    if (!byKey) return;
    tessera.byId("map").focus({ preventScroll: true });
    state.focusOn(groups.photo[group]);
  }

  /** @param {KeyboardEvent} event */
  function pressed(event) {
    /** @type {Record<string, number>} */
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    const isOwn = event.key in steps || event.key === "Enter" || event.key === " ";
    if (!isOwn) return;
    // The map would take these keys for its own.
    event.stopPropagation();
    if (!(event.key in steps)) return;
    event.preventDefault();
    const at = shown.findIndex((group) => landmark(group).button === document.activeElement);
    const next = shown[(at + steps[event.key] + shown.length) % shown.length];
    reachable(next);
    landmark(next).button.focus({ preventScroll: true });
  }

  /** @param {boolean} areOn whether there are landmarks */
  function turn(areOn) {
    isOn = areOn;
    tessera.byId("landmarks-button").setAttribute("aria-pressed", String(isOn));
    if (layer) place();
    tessera.emit("landmarks");
  }

  async function load() {
    groups = await tessera.data.load("landmarks");
    place();
  }

  tessera.whenReady(() => {
    const button = tessera.byId("landmarks-button");
    button.hidden = !map.landmarks;
    if (!map.landmarks) return;
    layer = tessera.element("div", { class: "landmarks", role: "group", "aria-label": "Landmarks" });
    tessera.byId("map").append(layer);
    layer.addEventListener("keydown", pressed);
    button.addEventListener("click", () => turn(!isOn));
    for (const what of ["drawn", "lit"]) tessera.on(what, place);
    load();
  });
  return { turn, toggle: () => { if (map.landmarks) turn(!isOn); }, isOn: () => isOn };
})();
