/**
 * A trie over UTF-16 units, as a double array. A vocabulary of 250,000 tokens has half a million nodes: as objects they would take
 * ten times the memory, and a hash table takes more memory and twice the time of a step.
 */

/** Positions of strings are below this: one and two codes of 16 bits fit into the 53 bits of a double (see sortByPair). */
export const MAX_STRINGS = 2 ** 21;
/** Free cells that are tried for a node with several children, before it gets cells behind all others. */
const MAX_TRIES = 32;
/** Numbers that a cell takes: see `Trie.#cells`. */
const CELL = 4;
const [BASE, PARENT, VALUE] = [0, 1, 2];
/** As PARENT: the cell is free. As VALUE: no string ends here. */
const NONE = -1;
/** Up to this many strings are sorted by insertion. */
const FEW = 16;
/** The only child of a node, to be placed. */
const ONE = [0];

export class Trie {
  /** By UTF-16 unit: a code, from 1 on, most frequent units first; 0 for units that no string has. */
  readonly #codes = new Uint16Array(0x10000);
  /**
   * Four numbers a node, the last unused, so that a node is within one line of the processor's cache: the base of its children,
   * its parent and its value. The child by a code is in cell base + code, if that cell names the node as its parent.
   */
  #cells = new Int32Array(0);
  /** Number of cells that may be read: all bases + the greatest code are below. */
  #room = 0;
  /** No cell before this one is free. */
  #firstFree = 1;
  /** Behind the last cell in use. */
  #end = 1;
  #greatestCode = 0;
  /** Number of strings, equal and empty ones included. */
  readonly size: number;

  /** @param texts at most MAX_STRINGS; their positions are the values; the last one of equal texts counts, and the empty one is left out */
  constructor(texts: readonly string[]) {
    this.size = texts.length;
    const coded = this.#encode(texts);
    this.#reserve(2 * texts.length + this.#greatestCode + 1);
    this.#build(coded);
    this.#cells = this.#cells.slice(0, CELL * (this.#end + this.#greatestCode + 1));
  }

  /** The code of a UTF-16 unit; 0 when no string has it. */
  codeOf(unit: number): number {
    return this.#codes[unit] ?? 0;
  }

  /** The node that a code, which may be 0, leads to from another; 0 when there is no such node. Strings begin at node 0. */
  next(node: number, code: number): number {
    const cells = this.#cells;
    const child = ((cells[CELL * node] ?? 0) + code) | 0;
    return cells[CELL * child + PARENT] === node ? child : 0;
  }

  /** The value of the string that ends at a node; −1 when no string does. */
  valueOf(node: number): number {
    return this.#cells[CELL * node + VALUE] ?? NONE;
  }

  /** The value of a string; undefined when it is not in the trie. */
  get(text: string): number | undefined {
    let node = 0;
    for (let i = 0; i < text.length; i++) {
      node = this.next(node, this.codeOf(text.charCodeAt(i)));
      if (node === 0) return undefined;
    }
    const value = this.valueOf(node);
    return value === NONE ? undefined : value;
  }

  /** Numbers the UTF-16 units of the strings, the most frequent first. */
  #encode(texts: readonly string[]): Coded {
    const starts = new Int32Array(texts.length);
    let length = 0;
    for (let i = 0; i < starts.length; i++) {
      starts[i] = length;
      length += (texts[i] ?? '').length + 1;
    }
    const codes = new Uint16Array(length);
    const counts = new Int32Array(0x10000);
    const units: number[] = [];
    let at = 0;
    for (const text of texts) {
      for (let i = 0; i < text.length; i++) {
        const unit = text.charCodeAt(i);
        codes[at++] = unit;
        if (counts[unit] === 0) units.push(unit);
        counts[unit] = (counts[unit] ?? 0) + 1;
      }
      at++;
    }
    units.sort((a, b) => (counts[b] ?? 0) - (counts[a] ?? 0));
    for (let i = 0; i < units.length; i++) this.#codes[units[i] ?? 0] = i + 1;
    this.#greatestCode = units.length;
    for (let i = 0; i < starts.length; i++) {
      const end = (starts[i + 1] ?? length) - 1;
      for (let k = starts[i] ?? 0; k < end; k++) codes[k] = this.#codes[codes[k] ?? 0] ?? 0;
    }
    return { codes, starts };
  }

  /**
   * Places the children of each node, depth first: the strings that pass a node are next to each other in `order`, and are sorted by
   * their next code before its turn comes.
   */
  #build(coded: Coded): void {
    const order = new Float64Array(coded.starts.length);
    for (let i = 0; i < order.length; i++) order[i] = i;
    // A stack of nodes: each with the range of its strings in `order`, and their common length.
    const open = [0, 0, order.length, 0];
    while (open.length > 0) {
      const depth = open.pop() ?? 0;
      const to = open.pop() ?? 0;
      const from = open.pop() ?? 0;
      const node = open.pop() ?? 0;
      if (to - from > 1) this.#addChildren(coded, order, node, from, to, depth, open);
      else if (to > from) this.#addTail(coded, order[from] ?? 0, node, depth);
    }
  }

  /** Places the children of a node that several strings pass, and puts them on the stack. */
  #addChildren(
    coded: Coded,
    order: Float64Array,
    node: number,
    first: number,
    to: number,
    depth: number,
    open: number[],
  ): void {
    const { codes, starts } = coded;
    if (depth % 2 === 0) sortByPair(order, first, to, coded, depth);
    let from = first;
    const children: number[] = [];
    const ends: number[] = [];
    let code = 0;
    for (let i = first; i < to; i++) {
      const index = order[i] ?? 0;
      const next = codes[(starts[index] ?? 0) + depth] ?? 0;
      if (next === 0) {
        // Ends here; the last one of equal strings counts.
        if (node !== 0) this.#cells[CELL * node + VALUE] = index;
        from = i + 1;
      } else if (next === code) ends[ends.length - 1] = i + 1;
      else {
        children.push(next);
        ends.push(i + 1);
        code = next;
      }
    }
    if (children.length === 0) return;
    const base = this.#place(node, children);
    for (let k = children.length - 1; k >= 0; k--)
      open.push(base + (children[k] ?? 0), k === 0 ? from : (ends[k - 1] ?? 0), ends[k] ?? 0, depth + 1);
  }

  /** Adds the rest of the only string that passes a node. */
  #addTail({ codes, starts }: Coded, index: number, start: number, depth: number): void {
    let node = start;
    for (let i = (starts[index] ?? 0) + depth; codes[i] !== 0; i++) {
      const code = codes[i] ?? 0;
      ONE[0] = code;
      node = this.#place(node, ONE) + code;
    }
    if (node !== 0) this.#cells[CELL * node + VALUE] = index;
  }

  /**
   * Finds cells for the children of a node.
   * @param codes ascending
   * @returns the node's base
   */
  #place(node: number, codes: readonly number[]): number {
    while (this.#firstFree < this.#end && !this.#isFree(this.#firstFree)) this.#firstFree++;
    const [first = 0] = codes;
    let cell = Math.max(this.#firstFree, first);
    for (let tries = 0; ; cell++) {
      if (cell >= this.#end) break;
      if (!this.#isFree(cell)) continue;
      if (this.#fits(cell - first, codes)) break;
      if (++tries === MAX_TRIES) cell = this.#end - 1;
    }
    const base = cell - first;
    this.#reserve(base + this.#greatestCode + 1);
    this.#cells[CELL * node + BASE] = base;
    for (const code of codes) {
      this.#cells[CELL * (base + code) + PARENT] = node;
      this.#end = Math.max(this.#end, base + code + 1);
    }
    return base;
  }

  #fits(base: number, codes: readonly number[]): boolean {
    for (let k = 1; k < codes.length; k++) if (!this.#isFree(base + (codes[k] ?? 0))) return false;
    return true;
  }

  #isFree(cell: number): boolean {
    return cell >= this.#end || this.#cells[CELL * cell + PARENT] === NONE;
  }

  #reserve(cells: number): void {
    if (cells <= this.#room) return;
    const larger = new Int32Array(CELL * Math.max(cells, Math.ceil(this.#room * 1.5)));
    larger.set(this.#cells);
    for (let cell = this.#room; cell * CELL < larger.length; cell++) {
      larger[CELL * cell + PARENT] = NONE;
      larger[CELL * cell + VALUE] = NONE;
    }
    this.#cells = larger;
    this.#room = larger.length / CELL;
  }
}

/** Strings in codes, each ended by a 0. */
interface Coded {
  codes: Uint16Array;
  starts: Int32Array;
}

/**
 * Sorts a stretch of positions by the next two codes of their strings; equal ones in order. Both codes and the position are packed
 * into one number: comparing numbers is faster than looking up strings all over the memory.
 */
function sortByPair(order: Float64Array, from: number, to: number, { codes, starts }: Coded, depth: number): void {
  if (to - from === 2) {
    const [first = 0, second = 0] = [order[from], order[from + 1]];
    if (pairAt(first) > pairAt(second)) [order[from], order[from + 1]] = [second, first];
    return;
  }
  for (let i = from; i < to; i++) order[i] = pairAt(order[i] ?? 0) * MAX_STRINGS + (order[i] ?? 0);
  if (to - from > FEW) order.subarray(from, to).sort();
  else
    for (let i = from + 1; i < to; i++) {
      const key = order[i] ?? 0;
      let at = i;
      for (; at > from && (order[at - 1] ?? 0) > key; at--) order[at] = order[at - 1] ?? 0;
      order[at] = key;
    }
  for (let i = from; i < to; i++) order[i] = (order[i] ?? 0) % MAX_STRINGS;

  function pairAt(position: number): number {
    const at = (starts[position] ?? 0) + depth;
    const first = codes[at] ?? 0;
    return first === 0 ? 0 : first * 0x10000 + (codes[at + 1] ?? 0);
  }
}

