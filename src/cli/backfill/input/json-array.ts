/**
 * Reads a JSON array as JSON Lines: each element becomes a line, byte for byte, and the line number in the results is its place in the
 * array. Only brackets, commas and quotes are looked at, so memory is that of a piece, whatever the size and depth of an element, and
 * the server finds in an element what it would find in a line: a number that rounds, a field named twice, an error of one element.
 * A parser that makes objects would lose these.
 */
import { peek } from '../../../shared/bulk/byte-stream.ts';
import { parsed } from '../../../shared/bulk/json-problem.ts';
import { SNIFF_BYTES } from '../../../shared/bulk/sniff.ts';
import { BadInputError } from '../../terminal/exit.ts';

type Bytes = AsyncGenerator<Uint8Array, void, undefined>;

export interface ArrayOptions {
  /** Name of the input, for messages. */
  name: string;
  /** Field that an element gets which is a text itself. */
  textField: string;
}

/** Passes JSON Lines on, and converts a JSON array to them. @throws BadInputError for an array without an end */
export async function* arrayLines(source: AsyncIterable<Uint8Array>, options: ArrayOptions): Bytes {
  const { head, stream } = await peek(source, SNIFF_BYTES);
  if (!isArray(Buffer.from(head).toString())) {
    yield* stream;
    return;
  }
  const splitter = new ArraySplitter(options);
  for await (const bytes of stream) yield splitter.push(bytes);
  yield splitter.end();
}

/** Whether a file begins as one array does; JSON Lines with an array on each line do not. */
function isArray(head: string): boolean {
  if (!/^\s*\[/.test(head)) return false;
  const [first = '', second = ''] = head.trimStart().split('\n', 2);
  return !(second.trimStart().startsWith('[') && parsed(first) !== undefined);
}

const TAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
/** A control character, which no JSON has: in place of a line feed in a string, the element stays an error on one line. */
const INVALID = 0x01;
const OPEN = new Set(Buffer.from('[{'));
const CLOSE = new Set(Buffer.from(']}'));
const ARRAY_END = ']'.charCodeAt(0);

class ArraySplitter {
  readonly #name: string;
  readonly #textPrefix: Buffer;
  /** Before the array, before an element, in an element, after the array. */
  #at: 'begin' | 'between' | 'inside' | 'after' = 'begin';
  /** Element that is being read, or was read last; from 1. */
  #element = 0;
  /** Brackets that are open within the element. */
  #depth = 0;
  #inString = false;
  #escaped = false;
  /** The element is a text. */
  #isText = false;

  constructor({ name, textField }: ArrayOptions) {
    this.#name = name;
    this.#textPrefix = Buffer.from(`{${JSON.stringify(textField)}:`);
  }

  push(piece: Uint8Array): Buffer {
    const bytes = Buffer.from(piece);
    const lines: Buffer[] = [];
    /** Where the bytes of the current element begin in the piece. */
    let from = this.#at === 'inside' ? 0 : -1;
    for (let i = 0; i < bytes.length; i++) {
      const byte = bytes[i] as number;
      if (this.#inString) {
        if (this.#escaped) this.#escaped = false;
        else if (byte === BACKSLASH) this.#escaped = true;
        else if (byte === QUOTE) this.#inString = false;
        if (byte === LF) bytes[i] = INVALID;
        continue;
      }
      if (byte === LF || byte === CR) bytes[i] = SPACE;
      if (this.#at !== 'inside') {
        if (byte === LF || byte === CR || byte === SPACE || byte === TAB) continue;
        if (!this.#begins(byte, lines)) continue;
        from = i;
      }
      if (byte === QUOTE) this.#inString = true;
      else if (this.#depth > 0) {
        if (OPEN.has(byte)) this.#depth++;
        else if (CLOSE.has(byte)) this.#depth--;
      } else if (OPEN.has(byte)) this.#depth = 1;
      else if (byte === COMMA || byte === ARRAY_END) {
        lines.push(bytes.subarray(from, i), this.#isText ? TEXT_END : LINE_END);
        from = -1;
        this.#at = byte === COMMA ? 'between' : 'after';
      }
    }
    if (from !== -1) lines.push(bytes.subarray(from));
    return lines.length === 1 ? (lines[0] as Buffer) : Buffer.concat(lines);
  }

  /** @returns whether an element begins with this byte outside of elements */
  #begins(byte: number, lines: Buffer[]): boolean {
    if (this.#at === 'begin') {
      this.#at = 'between';
      return false;
    }
    if (this.#at === 'after') {
      throw new BadInputError(
        `${this.#name} has other data after its JSON array: is it two files in one? jq -c '.[]' makes JSON Lines of it`,
      );
    }
    if (byte === ARRAY_END) {
      this.#at = 'after';
      return false;
    }
    this.#element++;
    if (byte === COMMA) {
      lines.push(NO_ELEMENT);
      return false;
    }
    this.#at = 'inside';
    this.#isText = byte === QUOTE;
    if (this.#isText) lines.push(this.#textPrefix);
    return true;
  }

  end(): Buffer {
    if (this.#at === 'after') return Buffer.alloc(0);
    const where = this.#element === 0 ? '' : `, in element ${this.#element}`;
    const why = this.#inString ? 'is a quote missing?' : 'is it complete?';
    throw new BadInputError(`${this.#name} ends within its JSON array${where}: ${why}`);
  }
}

const LINE_END = Buffer.from('\n');
const TEXT_END = Buffer.from('}\n');
/** Two commas in a row: an error in its place. */
const NO_ELEMENT = Buffer.from(',\n');
