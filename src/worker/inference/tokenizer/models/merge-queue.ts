/** Greater than the length of any text. */
const POSITIONS = 2 ** 26;

/** The next merge of a word: lowest rank first, then leftmost. A binary heap of numbers. */
export class MergeQueue {
  /** rank × POSITIONS + position. */
  readonly #keys: number[] = [];
  readonly #ids: number[] = [];

  get isEmpty(): boolean {
    return this.#keys.length === 0;
  }

  push(rank: number, position: number, id: number): void {
    let at = this.#keys.length;
    const key = rank * POSITIONS + position;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if ((this.#keys[parent] ?? 0) <= key) break;
      this.#set(at, this.#keys[parent] ?? 0, this.#ids[parent] ?? 0);
      at = parent;
    }
    this.#set(at, key, id);
  }

  pop(): { position: number; id: number } | undefined {
    const [first] = this.#keys;
    const [id = 0] = this.#ids;
    if (first === undefined) return undefined;
    const key = this.#keys.pop() ?? 0;
    const last = this.#ids.pop() ?? 0;
    const size = this.#keys.length;
    if (size > 0) {
      let at = 0;
      for (let child = 1; child < size; child = 2 * at + 1) {
        if (child + 1 < size && (this.#keys[child + 1] ?? 0) < (this.#keys[child] ?? 0)) child++;
        if (key <= (this.#keys[child] ?? 0)) break;
        this.#set(at, this.#keys[child] ?? 0, this.#ids[child] ?? 0);
        at = child;
      }
      this.#set(at, key, last);
    }
    return { position: first % POSITIONS, id };
  }

  #set(at: number, key: number, id: number): void {
    this.#keys[at] = key;
    this.#ids[at] = id;
  }
}
