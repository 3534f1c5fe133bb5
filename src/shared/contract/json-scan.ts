/**
 * Scans a JSON text before JSON.parse builds objects of it: finds values beyond a limit, and values that JSON.parse would change or
 * drop silently: numbers that a double cannot hold, and the first of two members with the same name.
 *
 * Values must be counted first: a megabyte of `[],[],[],` is half a million objects for JSON.parse, and as many errors for
 * a schema. A reviver with `context.source` would be called after that, takes five times as long for a text with a few numbers,
 * and never sees the first of two equal names.
 */
import { numberLoss } from './exact-number.ts';
import { shorten } from './text.ts';

/** A place in a JSON text that is beyond a limit, or that JSON.parse would change. */
export interface JsonFault {
  path: (string | number)[];
  /** Continues a sentence that begins with the path. */
  message: string;
}

export interface JsonLimits {
  /** Depth of nested arrays and objects, including the outermost. */
  maxDepth: number;
  /** The depth that `message` names. Default: `maxDepth`. */
  shownDepth?: number;
  /** Items of arrays and members of objects, on all levels together, and the root. Default: no limit. */
  maxValues?: number;
  /** Default: no limit. */
  maxNumberChars?: number;
  /** Items of an array that is a member of the root object, by the name of the member. */
  maxItems?: ReadonlyMap<string, number>;
  /** Member of the root object whose numbers are checked; undefined: every number is. */
  keeps?: string | undefined;
}

export interface JsonScan {
  /** Number of values, as `maxValues` counts them. */
  values: number;
  /** The first place beyond a limit, where the scan stopped: the text must not be parsed. */
  excess: JsonFault | undefined;
  /** The first ten places that JSON.parse would change, in text order. */
  losses: JsonFault[];
}

const MAX_LOSSES = 10;
/** Most tokens per value: name, colon, comma, and two brackets or the value itself. A text with more is not JSON. */
const TOKENS_OF_A_VALUE = 5;
const FEW_NAMES = 8;
const NONE: string[] = [];
const LONGEST_WORD = 'false'.length;
const MAX_SHOWN_CHARS = 40;

const SPACE = 0x20;
const QUOTE = 0x22;
const COMMA = 0x2c;
const MINUS = 0x2d;
const ZERO = 0x30;
const NINE = 0x39;
const COLON = 0x3a;
const OPEN_LIST = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_LIST = 0x5d;
const LOWER_A = 0x61;
const LOWER_Z = 0x7a;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** An array or object that is being read. */
interface Frame {
  isObject: boolean;
  /** Name or index of the current member. */
  key: string | number;
  maxItems: number;
  /** Whether the next string of an object is a name. */
  atName: boolean;
  /** Names of an object so far. An array finds a few faster, and hashes no names of megabytes. */
  names: string[] | Set<string>;
}

/** @param json may be invalid: then the findings mean nothing, but cost no more */
export function scanJson(json: string, limits: JsonLimits): JsonScan {
  const { maxDepth, shownDepth = maxDepth, maxValues = Infinity, maxNumberChars = Infinity, keeps } = limits;
  const losses: JsonFault[] = [];
  const frames: Frame[] = [];
  let frame: Frame | undefined;
  let values = 0;
  let tokens = 0;
  let excess: JsonFault | undefined;
  for (let at = 0; at < json.length && excess === undefined; at++) {
    const code = json.charCodeAt(at);
    if (code <= SPACE) {
      if (json.charCodeAt(at + 1) <= SPACE) at = endOfSpace(json, at) - 1;
      continue;
    }
    if (++tokens > TOKENS_OF_A_VALUE * maxValues) break;
    if (code === COLON) continue;
    if (code === COMMA) {
      if (frame?.isObject) frame.atName = true;
      else if (frame) {
        const items = (frame.key as number) + 1;
        if (items === frame.maxItems)
          excess = { path: memberOf(frames), message: `must have at most ${items} items` };
        else frame.key = items;
      }
      continue;
    }
    if (code === CLOSE_OBJECT || code === CLOSE_LIST) {
      frames.pop();
      frame = frames.at(-1);
      continue;
    }
    // A member counts once, at its name.
    if (!frame?.isObject || (code === QUOTE && frame.atName)) values++;
    if (values > maxValues) excess = tooManyValues(maxValues, frames);
    else if (code === QUOTE) {
      const end = endOfString(json, at);
      if (frame?.atName) {
        frame.atName = false;
        frame.key = nameAt(json, at, end);
        if (isRepeated(frame, frame.key)) addLoss(losses, frames, 'is given twice');
      }
      at = end;
    } else if (code === OPEN_OBJECT || code === OPEN_LIST) {
      if (frames.length === maxDepth) {
        const path = keeps === undefined ? [] : memberOf(frames);
        excess = { path, message: `is nested more than ${shownDepth} levels deep` };
      } else {
        frame = newFrame(code === OPEN_OBJECT, maxItemsOf(frames, limits));
        frames.push(frame);
      }
    } else if (code === MINUS || isDigit(code)) {
      const end = endOfNumber(json, at, maxNumberChars);
      if (end - at > maxNumberChars)
        excess = { path: pathOf(frames), message: `is a number of more than ${maxNumberChars} characters` };
      else if (keeps === undefined || frames[0]?.key === keeps) {
        const literal = json.slice(at, end);
        const becomes = numberLoss(literal);
        if (becomes !== undefined) addLoss(losses, frames, changed(literal, becomes));
      }
      at = end - 1;
    } else {
      const end = endOfWord(json, at);
      if (end - at > LONGEST_WORD) break;
      at = end - 1;
    }
  }
  return { values, excess, losses };
}

const newFrame = (isObject: boolean, maxItems: number): Frame => ({
  isObject,
  key: isObject ? '' : 0,
  maxItems,
  atName: isObject,
  names: isObject ? [] : NONE,
});

/** For an array about to begin. */
function maxItemsOf(frames: readonly Frame[], { maxItems }: JsonLimits): number {
  const [root] = frames;
  return root?.isObject && frames.length === 1 ? (maxItems?.get(root.key as string) ?? Infinity) : Infinity;
}

function tooManyValues(maxValues: number, frames: readonly Frame[]): JsonFault {
  const path = memberOf(frames);
  const values = `${maxValues} values, counting items of arrays and members of objects on all levels`;
  return {
    path,
    message: path.length > 0 ? `takes the body beyond ${values}` : `must have at most ${values}`,
  };
}

/** Path of the root's member that is being read, once its name is known. */
const memberOf = (frames: readonly Frame[]): JsonFault['path'] =>
  frames.length > 1 ? pathOf(frames).slice(0, 1) : [];

const changed = (literal: string, becomes: string): string =>
  `is ${shorten(literal, MAX_SHOWN_CHARS)}, which would become ${becomes} (send it as a string)`;

function addLoss(losses: JsonFault[], frames: readonly Frame[], message: string): void {
  if (losses.length < MAX_LOSSES) losses.push({ path: pathOf(frames), message });
}

const pathOf = (frames: readonly Frame[]): JsonFault['path'] => frames.map(({ key }) => key);

function isRepeated(frame: Frame, name: string): boolean {
  const { names } = frame;
  if (Array.isArray(names)) {
    if (names.includes(name)) return true;
    names.push(name);
    if (names.length > FEW_NAMES) frame.names = new Set(names);
    return false;
  }
  if (names.has(name)) return true;
  names.add(name);
  return false;
}

/** The string between two quotes, which are at `from` and `end`. */
export function nameAt(json: string, from: number, end: number): string {
  const written = json.slice(from + 1, end);
  if (!written.includes('\\')) return written;
  try {
    return JSON.parse(json.slice(from, end + 1)) as string;
  } catch {
    // An unknown escape: the text is not JSON.
    return written;
  }
}

/** A piece of a string; bounded, because every repetition takes space on a stack of 64 MB. */
const IN_STRING = /(?:[^"\\]{1,1000}|\\[^]){0,1000}/y;

/** Index of the quote that ends the string beginning at `from`, or the length of a text in which none does. */
export function endOfString(json: string, from: number): number {
  const quote = json.indexOf('"', from + 1);
  if (quote === -1) return json.length;
  if (json.charCodeAt(quote - 1) !== BACKSLASH) return quote;
  // An escape precedes the quote. The pattern skips millions of escapes in native code.
  for (let at = from + 1; ;) {
    IN_STRING.lastIndex = at;
    IN_STRING.test(json);
    const end = IN_STRING.lastIndex;
    if (json.charCodeAt(end) === QUOTE) return end;
    if (end === at) return json.length;
    at = end;
  }
}

const NOT_SPACE = /[^ \t\r\n]/g;

/** Index of the next character other than white space; megabytes are skipped in native code. */
function endOfSpace(json: string, from: number): number {
  NOT_SPACE.lastIndex = from + 1;
  return NOT_SPACE.test(json) ? NOT_SPACE.lastIndex - 1 : json.length;
}

/** At most one beyond `maxChars`. */
function endOfNumber(json: string, from: number, maxChars: number): number {
  let end = from + 1;
  while (end - from <= maxChars && isNumeric(json.charCodeAt(end))) end++;
  return end;
}

/** At most one beyond the longest word. */
function endOfWord(json: string, from: number): number {
  let end = from + 1;
  while (end - from <= LONGEST_WORD && isLetter(json.charCodeAt(end))) end++;
  return end;
}

const isDigit = (code: number): boolean => code >= ZERO && code <= NINE;
const isLetter = (code: number): boolean => code >= LOWER_A && code <= LOWER_Z;

/** Digits, `+ - .`, `e` and `E`. */
const isNumeric = (code: number): boolean =>
  isDigit(code) || code === 0x2b || code === MINUS || code === 0x2e || code === 0x65 || code === 0x45;
