// What the parts of the page offer each other, and Leaflet, for the check of types in `make lint`
// alone: a page does not have this file. A new part, or a new function of one, has a line here.

declare const L: any;

type View = "grid" | "plane";
type Tool = "move" | "rectangle" | "lasso";
type Box = { left: number; top: number; right: number; bottom: number };
type Area = { left: number; top: number; width: number; height: number };
type Sight = { row: number; column: number; zoom: number };
type Sorting = (one: number, other: number) => number;

interface Tessera {
  whenReady(start: () => void): void;
  startParts(): void;
  on(what: string, listener: () => void): void;
  emit(what: string): void;
  byId(id: string): any;
  element(tag: string, about?: Record<string, any>, ...children: (Node | null)[]): any;
  say(text: string): void;
  toast(text: string): void;
  count(number: number): string;
  counted(n: number, one: string, several: string): string;
  bytes(bytes: number): string;
  date(seconds: number, day?: boolean): string;
  pixelRatio(): number;
  showChosen(group: string, by: string, value: string): void;
  isCalm(): boolean;
  colourNamed(name: string): string;
  hex(colour: number): string;
  rgb(hex: string): number[];
  data: Data;
  state: State;
  pictures: Pictures;
  places: Places;
  dots: Dots;
  layer: Layer;
  marks: Marks;
  map: Maps;
  card: Card;
  explain: Explain;
  photo: Photo;
  find: Find;
  similar: Similar;
  colour: Colour;
  select: Select;
  landmarks: Landmarks;
  changes: Changes;
  csv: Csv;
  address: Address;
  keys: Keys;
}

/** The fields of data/map.js, which `page.py` writes. */
interface MapData {
  title: string;
  photos: number;
  columns: number;
  rows: number;
  tile: number;
  coarsest: number;
  deepest: number;
  photosAFile: number;
  cells: Uint32Array;
  x: Uint16Array;
  y: Uint16Array;
  lowest: number[];
  spread: number;
  scores: Uint16Array | null;
  scoreName: string;
  labels: string[] | null;
  labelCodes: Numbers;
  blurAbove: number | null;
  blurred: number[];
  clear: boolean;
  explained: number[];
  version: string;
  tileVersions: Uint32Array;
  codes: boolean;
  neighbours: number;
  recall: number;
  landmarks: boolean;
  changes: boolean;
}

type Numbers = Uint8Array | Uint16Array | Uint32Array;

/** The fields of data/facts.js. */
interface Facts {
  folders: string[];
  folderCodes: Numbers;
  uris: Record<number, string>;
  widths: Uint32Array;
  heights: Uint32Array;
  bytes: Float64Array;
  taken: Float64Array;
  groups: Uint32Array;
  copies: Record<number, string[]>;
  labels: Record<number, string>;
}

/** What led to a map, of the fields of data/changes.js. */
interface MapChanges {
  number: number;
  madeAt: string;
  anew: string;
  many: { came: number; went: number; moved: number };
  came: number[];
  moved: number[];
  went: string[];
}

/** The fields of data/codes.js; likeness.py says what they are. */
interface Codes {
  codes: Uint8Array;
  levels: Int8Array;
  steps: Float32Array;
  stages: number;
}

/** The fields of data/landmarks.js. */
interface Groups {
  first: Uint16Array;
  end: Uint16Array;
  many: Uint32Array;
  photo: Uint32Array;
  inGrid: Uint32Array;
  inPlane: Uint32Array;
  gridBoxes: Uint16Array;
  planeBoxes: Uint16Array;
  names: string[];
  isGuess: boolean;
}

type MapOfPhoto = { kind: string; words: string; showsPhoto: boolean };

/** What data/maps.js has of a photo. */
type MapsOfPhoto = { file: string; model: string; maps: MapOfPhoto[] };

/** What the scripts in data/ hold, but for those that are divided. */
interface Parts {
  facts: Facts;
  changes: { maps: MapChanges[] };
  codes: Codes;
  landmarks: Groups;
  maps: { maps: Record<number, MapsOfPhoto> };
}

interface Data {
  LARGEST: number;
  receive(part: string, fields: Record<string, any>): void;
  load<Part extends keyof Parts>(part: Part): Promise<Parts[Part]>;
  loadFor(part: string, photos: Iterable<number>): Promise<any[]>;
  loadAll(part: string): Promise<any[]>;
  has<Part extends keyof Parts>(part: Part): Parts[Part] | undefined;
  map(): MapData;
  cellOf(photo: number): { row: number; column: number };
  nameOf(photo: number): string;
  uriOf(photo: number): string;
  idOf(photo: number): string;
  photosWithIds(wanted: string[]): Promise<number[]>;
  scoreOf(photo: number): number | null;
  labelOf(photo: number): string;
  nearestTo(photo: number): Promise<number[]>;
  versioned(file: string): string;
}

/** Why photos are lit; state.js has the words. */
interface Reason {
  lit: Uint8Array;
  words: string;
  order?: number[];
  strength?: Float32Array;
  clear(): void;
}

interface State {
  view: View;
  focus: number;
  hover: number;
  tool: Tool;
  selected: Set<number>;
  lit: Uint8Array | null;
  walk: number[];
  strength: Float32Array | null;
  colours: Int32Array | null;
  sorting: Sorting | null;
  light(by: string, reason: Reason | null): void;
  litBecause(): Reason[];
  lightAll(): void;
  isLit(photo: number): boolean;
  focusOn(photo: number): void;
  show(view: View): void;
  select(photos: Iterable<number>): void;
  toggle(photo: number): void;
  colour(colours: Int32Array | null, sorting: Sorting | null): void;
  use(tool: Tool): void;
}

interface Pictures {
  draw(context: CanvasRenderingContext2D, photo: number, left: number, top: number, side: number, zoom?: number): boolean;
  picture(photo: number, side: number): HTMLCanvasElement;
  fill(list: HTMLElement, photos: number[], side: number): void;
  tileUrl(zoom: number, x: number, y: number): string;
}

interface Places {
  xs(view: string): Float32Array;
  ys(view: string): Float32Array;
  planeX(x: number): number;
  planeY(y: number): number;
  size(view: string, cell: number): number;
  photoAt(view: string, x: number, y: number, cell: number): number;
  next(view: string, from: number, right: number, down: number): number;
}

/** What is seen of the map: where its corner is, the side of a cell, and the window, in px. */
type Seen = { left: number; top: number; cell: number; width: number; height: number; isMoving: boolean };

interface Dots {
  prepare(colourOf: (photo: number) => number, fading: Float32Array): void;
  draw(context: CanvasRenderingContext2D, seen: Seen, size: number, xs: Float32Array, ys: Float32Array): void;
}

interface Layer {
  draw(context: CanvasRenderingContext2D, seen: Seen, paint: (context: CanvasRenderingContext2D, seen: Seen) => void): void;
  forget(isSoon?: boolean): void;
}

interface Marks {
  prepare(): void;
  prepareSelected(): void;
  draw(context: CanvasRenderingContext2D, seen: Seen): void;
  setTravel(now: { from: View; share: number } | null): void;
  isTravelling(): boolean;
}

interface Maps {
  seen(): Seen;
  boxOf(photo: number): Box;
  bring(photo: number, side?: number): void;
  showAll(animate?: boolean): void;
  fit(box: Box): void;
  zoomBy(by: number): void;
  sight(): Sight;
  look(wanted: Sight): void;
  drag(isOn: boolean): void;
  photoUnder(event: { clientX: number; clientY: number }): number;
  onMoveEnd(act: () => void): void;
}

interface Card {
  showAt(photo: number, x: number, y: number): void;
  showBeside(photo: number, element: HTMLElement): void;
  showBesideBox(photo: number, box: Box): void;
  hide(): void;
  inWords(photo: number): string;
  sizeInWords(photo: number): string;
  loaded(photo: number): Promise<any>;
}

interface Explain {
  has(photo: number): boolean;
  controlsOf(photo: number, frame: HTMLElement): HTMLElement | null;
  allow(photo: number): void;
}

interface Photo {
  open(photo: number): Promise<void>;
  current(): number;
}

interface Find {
  find(text: string): Promise<void>;
  walk(step: number): void;
  words(): string;
}

interface Similar {
  lightLike(photo: number): Promise<void>;
  cosinesWith(photo: number): Promise<Float32Array>;
  chosen(): number;
}

/** What is known of photos as numbers: the share of each on the way from the least to the most. */
interface Ranged {
  kind: "range";
  share: Float64Array;
  bars: Uint32Array;
  colours: Int32Array;
  sorting: Sorting;
  known: number;
  isHighestFirst: boolean;
  inWords(share: number): string;
}

/** What is known of photos as texts: the code of each, and the texts that photos have. */
interface Listed {
  kind: "values";
  what: string;
  codes: Numbers;
  names: string[];
  many: Uint32Array;
  order: number[];
  colourOf: Int32Array;
  colours: Int32Array | null;
  sorting: Sorting | null;
  isEmpty?: boolean;
}

interface Colour {
  colour(what: string, only?: { range?: number[]; values?: number[] }): Promise<void>;
  now(): { by: string; range: number[]; values: number[]; kind: "range" | "values" | null };
}

interface Select {
  selectLit(): void;
}

interface Landmarks {
  turn(areOn: boolean): void;
  toggle(): void;
  isOn(): boolean;
}

interface Changes {
  show(number: number): Promise<void>;
  codes(): Promise<Uint8Array>;
  chosen(): number;
}

interface Csv {
  read(file: File): Promise<void>;
}

interface Address {
  read(): Promise<void>;
}

interface Keys {
  goTo(photo: number, side?: number): void;
}
