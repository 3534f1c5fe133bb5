/**
 * A trie over UTF-16 units, in one hash table of typed arrays: a vocabulary of 250,000 tokens has about a million nodes, which as
 * objects would take ten times the memory.
 */
export class Trie {
  /** By slot of the hash table: a node, a unit, and the node that the unit leads to; 0 when the slot is free. */
  #parents: Int32Array;
  #units: Uint16Array;
  #children: Int32Array;
  /** By node: the value of the string that ends there; −1 when no string does. */
  #values: Int32Array;
  #nodes = 1;

  /** @param values not negative, by string */
  constructor(values: ReadonlyMap<string, number>) {
    let units = 1;
    for (const text of values.keys()) units += text.length;
    const slots = 2 ** Math.ceil(Math.log2(units * 2));
    this.#parents = new Int32Array(slots);
    this.#units = new Uint16Array(slots);
    this.#children = new Int32Array(slots);
    this.#values = new Int32Array(units + 1).fill(-1);
    for (const [text, value] of values) this.#insert(text, value);
    this.#shrink();
  }

  /** The node that a unit leads to from another; 0 when there is no such node. Strings begin at node 0. */
  next(node: number, unit: number): number {
    return this.#children[this.#slot(node, unit)] ?? 0;
  }

  /** The value of the string that ends at a node; −1 when no string does. */
  valueOf(node: number): number {
    return this.#values[node] ?? -1;
  }

  #insert(text: string, value: number): void {
    let node = 0;
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      const slot = this.#slot(node, unit);
      if (this.#children[slot] === 0) {
        this.#parents[slot] = node;
        this.#units[slot] = unit;
        this.#children[slot] = this.#nodes++;
      }
      node = this.#children[slot] ?? 0;
    }
    if (node !== 0) this.#values[node] = value;
  }

  /** The slot of a node and a unit, or the free slot where they belong. */
  #slot(node: number, unit: number): number {
    const mask = this.#children.length - 1;
    let slot = (Math.imul(node, 0x9e3779b1) ^ Math.imul(unit, 0x85ebca6b)) >>> 0;
    slot = (slot ^ (slot >>> 15)) & mask;
    while (this.#children[slot] !== 0 && (this.#parents[slot] !== node || this.#units[slot] !== unit))
      slot = (slot + 1) & mask;
    return slot;
  }

  /** Shrinks the table to the number of nodes: tokens share prefixes, so there are fewer nodes than units. */
  #shrink(): void {
    this.#values = this.#values.slice(0, this.#nodes);
    const slots = 2 ** Math.ceil(Math.log2(this.#nodes * 2));
    const { 0: parents, 1: units, 2: children } = [this.#parents, this.#units, this.#children] as const;
    if (slots >= children.length) return;
    this.#parents = new Int32Array(slots);
    this.#units = new Uint16Array(slots);
    this.#children = new Int32Array(slots);
    children.forEach((child, from) => {
      if (child === 0) return;
      const slot = this.#slot(parents[from] ?? 0, units[from] ?? 0);
      this.#parents[slot] = parents[from] ?? 0;
      this.#units[slot] = units[from] ?? 0;
      this.#children[slot] = child;
    });
  }
}
