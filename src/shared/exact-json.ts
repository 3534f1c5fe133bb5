/**
 * What JSON.parse changes or drops without a word: numbers that no double holds (1546130668394913822 becomes
 * 1546130668394913800, 1e400 becomes Infinity and then null), and the first of two members with the same name.
 *
 * The text is walked once beside JSON.parse. The other way, a reviver with `context.source`, calls a function for every value,
 * takes five times as long for a text with a few numbers, and never sees the first of two equal names.
 */

/** A place in a JSON text that would not come back as it was written. */
export interface JsonLoss {
  path: (string | number)[];
  /** Reads as a sentence behind the path. */
  message: string;
}

export interface JsonLossOptions {
  /** Arrays and objects within each other, the outermost included; a text with more is reported, and not read on. */
  maxDepth: number;
  /** What the report of such a text calls the limit. Default: `maxDepth`. */
  saidDepth?: number;
  /** Member of the root object whose numbers are checked; undefined: every number is. */
  keeps?: string | undefined;
}

const MAX_LOSSES = 10;
/** Doubles hold every decimal of so many digits. */
const SAFE_DIGITS = 15;
const MAX_SHOWN_CHARS = 40;

const QUOTE = 0x22;
const COMMA = 0x2c;
const MINUS = 0x2d;
const ZERO = 0x30;
const NINE = 0x39;
const OPEN_LIST = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** An array or object that is being read. */
interface Frame {
  isObject: boolean;
  /** Name or index of the current member. */
  key: string | number;
  /** Whether the next string of an object is a name. */
  atName: boolean;
  first: string | undefined;
  /** From the second name on. */
  names: Set<string> | undefined;
}

/**
 * @param json that JSON.parse has accepted
 * @returns the first ten places, in the order of the text; empty: everything comes back as it was written
 */
export function findJsonLosses(
  json: string,
  { maxDepth, saidDepth = maxDepth, keeps }: JsonLossOptions,
): JsonLoss[] {
  const losses: JsonLoss[] = [];
  const frames: Frame[] = [];
  let frame: Frame | undefined;
  const path = () => frames.map(({ key }) => key);
  for (let at = 0; at < json.length && losses.length < MAX_LOSSES; at++) {
    const code = json.charCodeAt(at);
    if (code === QUOTE) {
      const end = endOfString(json, at);
      if (frame?.atName) {
        const name = nameAt(json, at, end);
        frame.atName = false;
        frame.key = name;
        if (isRepeated(frame, name)) losses.push({ path: path(), message: 'is given twice' });
      }
      at = end;
    } else if (code === OPEN_OBJECT || code === OPEN_LIST) {
      const isObject = code === OPEN_OBJECT;
      if (frames.length === maxDepth) {
        const message = `is nested more than ${saidDepth} levels deep`;
        return [...losses, { path: keeps === undefined ? [] : path().slice(0, 1), message }];
      }
      frame = { isObject, key: isObject ? '' : 0, atName: isObject, first: undefined, names: undefined };
      frames.push(frame);
    } else if (code === CLOSE_OBJECT || code === CLOSE_LIST) {
      frames.pop();
      frame = frames.at(-1);
    } else if (code === COMMA) {
      if (frame?.isObject) frame.atName = true;
      else if (frame) frame.key = (frame.key as number) + 1;
    } else if (code === MINUS || isDigit(code)) {
      const end = endOfNumber(json, at);
      if (keeps === undefined || frames[0]?.key === keeps) {
        const literal = json.slice(at, end);
        const becomes = numberLoss(literal);
        if (becomes !== undefined) {
          const message = `is ${shown(literal)}, which would become ${becomes} (send it as a string)`;
          losses.push({ path: path(), message });
        }
      }
      at = end - 1;
    }
  }
  return losses;
}

/**
 * What a JSON number becomes when it is read as a double and written again, if that is another number: 1.0 and 1e2 come back as
 * 1 and 100, which are the same; 0.12345678901234567890 and -0 do not come back.
 * @param literal of a JSON text
 * @returns the other number (`null` beyond 1.8e308), or undefined when none is lost
 */
export function numberLoss(literal: string): string | undefined {
  const value = Number(literal);
  if (!Number.isFinite(value)) return 'null';
  if (value === 0) {
    // Either a zero, perhaps with a sign, or too small for a double.
    return Object.is(value, -0) || /^[^e]*[1-9]/i.test(literal) ? '0' : undefined;
  }
  if (literal.length <= SAFE_DIGITS && !/e/i.test(literal)) return undefined;
  const written = String(value);
  return decimal(literal) === decimal(written) ? undefined : written;
}

/** The digits of a number other than 0, without zeros at their ends, and where its point is: the same for equal numbers. */
function decimal(literal: string): string {
  const [, sign = '', whole = '', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/i.exec(literal) ?? [];
  const digits = whole + fraction;
  let from = 0;
  while (digits.charCodeAt(from) === ZERO) from++;
  let to = digits.length;
  while (digits.charCodeAt(to - 1) === ZERO) to--;
  return `${sign}${digits.slice(from, to)}e${Number(exponent) + whole.length - from}`;
}

function isRepeated(frame: Frame, name: string): boolean {
  if (frame.first === undefined) {
    frame.first = name;
    return false;
  }
  frame.names ??= new Set([frame.first]);
  if (frame.names.has(name)) return true;
  frame.names.add(name);
  return false;
}

function nameAt(json: string, from: number, end: number): string {
  const written = json.slice(from + 1, end);
  return written.includes('\\') ? (JSON.parse(json.slice(from, end + 1)) as string) : written;
}

/** Index of the quote that ends the string beginning at `from`. */
function endOfString(json: string, from: number): number {
  let end = from;
  for (;;) {
    end = json.indexOf('"', end + 1);
    let backslashes = 0;
    while (json.charCodeAt(end - 1 - backslashes) === BACKSLASH) backslashes++;
    // The quote before the string is not in the way: nothing escapes it.
    if (backslashes % 2 === 0) return end === -1 ? json.length : end;
  }
}

function endOfNumber(json: string, from: number): number {
  let end = from + 1;
  while (isNumeric(json.charCodeAt(end))) end++;
  return end;
}

const isDigit = (code: number): boolean => code >= ZERO && code <= NINE;

/** Digits, `+ - .`, `e` and `E`. */
const isNumeric = (code: number): boolean =>
  isDigit(code) || code === 0x2b || code === MINUS || code === 0x2e || code === 0x65 || code === 0x45;

const shown = (literal: string): string =>
  literal.length <= MAX_SHOWN_CHARS ? literal : `${literal.slice(0, MAX_SHOWN_CHARS)}…`;
