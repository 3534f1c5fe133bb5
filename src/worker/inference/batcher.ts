/**
 * The micro-batcher: forms the batches of one model process. Pure: it imports nothing and knows nothing of queues,
 * tokenizers or models; `run` is injected.
 *
 * On a CPU the time of a batch is linear in its padded tokens (rows × longest row), and the usual policy, first in first
 * out in fixed row counts, is slower than no batching at all: one long row pads all the others. So:
 *
 * - Work-conserving: when an executor is idle and a row waits, a batch is formed at once. No timer waits for more rows; under
 *   load, more rows are there anyway. (Rows that arrive in one tick share a batch: dispatch runs after the tick.)
 * - Late binding: a batch is formed when an executor is free, so that it can use every waiting row. Under load, when enough
 *   interactive rows wait for a whole batch and no others wait, nothing is lost by forming it at once: each executor then gets
 *   one batch ahead, and need not wait for the next.
 * - The oldest row of the lane leads, and rows of about its length join in arrival order: those that add at most
 *   MAX_JOIN_PADDING tokens of padding, while the batch stays within the lane's token budget. The oldest row always leaves
 *   with the next batch of its lane, so no row starves. A row longer than the budget runs alone.
 * - The interactive lane goes first, but one turn in BACKGROUND_EVERY goes to the other lanes, in rotation: they progress under
 *   any load, and an interactive row waits for at most one of their batches.
 * - While no interactive row has come for a while (quiet), background batches get a larger budget, and each executor gets one
 *   batch ahead, so that it need not wait for the next. An executor runs interactive batches before the batch it has ahead.
 * - Each row settles on its own. When a batch fails, every row of it runs once more, alone; only a row that fails alone fails.
 * - Rows of a lane with the same key run once: a row that comes while another one waits or runs gets its result or error, and
 *   keeps it in its place when the submission that came first is dropped.
 */

export type Lane = 'interactive' | 'low' | 'bulk';

/** A row has a length, including special tokens; only `run` knows the rest of it. */
export interface BatchRow {
  readonly tokens: number;
  /** Rows with the same key have the same result; undefined: no other row has it. */
  readonly key?: string | undefined;
}

export interface BatcherOptions<Row extends BatchRow, Result> {
  /**
   * Runs one batch and resolves to one result per row, in order. Must choose the executor with the fewest batches, and an
   * executor must run interactive batches first.
   */
  run: (rows: Row[], lane: Lane) => Promise<Result[]>;
  /** Batches that can be run at the same time. */
  executors?: number;
  /** Padded tokens that one batch of a lane may have. */
  budgets: Record<Lane, number>;
  /** Budget of background batches while it is quiet; unset: no larger budget, and no batch ahead. */
  quietBudget?: number;
  /** Most rows in one batch. */
  maxRows?: number;
  /** Only rows with the same number of tokens share a batch: for models whose scores depend on padding. */
  equalLengths?: boolean;
}

/** Drops the rows that were submitted with it: an AbortSignal, or what a job has instead. */
export type DropSignal = Pick<AbortSignal, 'aborted' | 'addEventListener' | 'removeEventListener'>;

/** The result of a row, and the size of its batch. */
export interface Settled<Result> {
  result: Result;
  /** Rows of that batch. */
  batchRows: number;
}

/** Called once for every row of a submission, as soon as the row has ended. */
export interface Receiver<Result> {
  settled: (index: number, settled: Settled<Result>) => void;
  /** RowDropped, or what `run` threw for this row alone. */
  failed: (index: number, error: Error) => void;
}

/** Rows that were submitted together and are dropped together. */
interface Submission<Result> {
  receiver: Receiver<Result>;
  /** Rows that have not ended; with the last of them, `release` stops listening to the signal. */
  left: number;
  dropped: boolean;
  release: () => void;
}

/** The place of a row in its submission. */
interface Claim<Result> {
  index: number;
  submission: Submission<Result>;
}

interface Waiting<Row, Result> {
  row: Row;
  /** All rows with its key; at least one. */
  claims: Claim<Result>[];
  /** The row was in a batch that failed: it now runs alone, and another failure is its own. */
  alone: boolean;
}

/**
 * Tokens of padding that a row may add when it joins: to itself, and to the rows it makes longer. A batch costs
 * about 13 tokens by itself (measured for the shipped model: 2.8 ms for one row of 27 tokens, 1.9 ms a row for nine), so
 * a little padding is cheaper than another batch.
 *
 * Simulated with 32 rows waiting, cost per row in tokens · padded ÷ real · p99 of the wait, on SST-2's lengths:
 * limit 2: 30.5 · 1.03 · 1,864; 4: 30.5 · 1.06 · 1,860; 6: 31.0 · 1.09 · 1,834. Tried and left:
 * - buckets with fixed edges (8, 12, 16, 24, 32, 48 …): 31.9 · 1.12 · 1,765; edges by powers of two: 34.4 · 1.23 · 1,695;
 * - the best cut of all waiting rows into batches, by dynamic programming: 30.2 · 1.05 · 1,977, and a sort per batch;
 * - first in, first out up to the same budget: 42.8 · 1.53 · 1,720.
 */
const MAX_JOIN_PADDING = 4;

/** One turn in this many goes to the lanes behind the interactive one. */
const BACKGROUND_EVERY = 8;

const DEFAULT_MAX_ROWS = 64;

/** Quiet begins after this many background batches without an interactive row: one to three seconds. */
const QUIET_AFTER = 128;

/** The error of a row that its signal dropped before it ran. */
export class RowDropped extends Error {
  override name = 'RowDropped';
}

export class Batcher<Row extends BatchRow, Result> {
  readonly #run: BatcherOptions<Row, Result>['run'];
  readonly #budgets: Record<Lane, number>;
  readonly #maxRows: number;
  readonly #maxPadding: number;
  readonly #lanes: Record<Lane, Waiting<Row, Result>[]> = { interactive: [], low: [], bulk: [] };
  /** Rows of each lane that wait or run, by key. */
  readonly #keyed = {
    interactive: new Map<string, Waiting<Row, Result>>(),
    low: new Map<string, Waiting<Row, Result>>(),
    bulk: new Map<string, Waiting<Row, Result>>(),
  };
  readonly #executors: number;
  readonly #quietBudget: number | undefined;
  /** Batches in flight: of the interactive lane, in all. */
  #interactive = 0;
  #running = 0;
  #backgroundInARow = QUIET_AFTER;
  #scheduled = false;
  #turn = 0;
  /** The background lanes; the first of them gets the next background turn. */
  #background: readonly [Lane, Lane] = ['low', 'bulk'];
  /** Rows that were submitted to run, and rows that joined one of these instead. */
  readonly rows = { own: 0, shared: 0 };

  constructor(options: BatcherOptions<Row, Result>) {
    const { run, budgets, executors = 1, quietBudget, maxRows = DEFAULT_MAX_ROWS, equalLengths } = options;
    this.#run = run;
    this.#quietBudget = quietBudget;
    this.#budgets = budgets;
    this.#executors = executors;
    this.#maxRows = maxRows;
    this.#maxPadding = equalLengths ? 0 : MAX_JOIN_PADDING;
  }

  /** Rows that wait for a batch, in all lanes. */
  get waiting(): number {
    return this.#lanes.interactive.length + this.#lanes.low.length + this.#lanes.bulk.length;
  }

  /**
   * Runs one row, in a batch with others that wait.
   * @param signal drops the row if it has not been put into a batch yet
   * @throws RowDropped, or what `run` threw for this row alone
   */
  submit(row: Row, lane: Lane, signal?: DropSignal): Promise<Settled<Result>> {
    return new Promise((resolve, reject) => {
      this.submitAll(
        [row],
        lane,
        { settled: (_, settled) => resolve(settled), failed: (_, error) => reject(error) },
        signal,
      );
    });
  }

  /**
   * Runs many rows. Sorted by length is best: neighbours then share a batch, and are found at once.
   * @param signal drops the rows that are not in a batch yet
   */
  submitAll(rows: readonly Row[], lane: Lane, receiver: Receiver<Result>, signal?: DropSignal): void {
    const onAbort = () => this.#drop(submission, lane);
    const release = () => signal?.removeEventListener('abort', onAbort);
    const submission: Submission<Result> = { receiver, left: rows.length, dropped: false, release };
    if (signal?.aborted) {
      rows.forEach((_, index) => drop({ index, submission }));
      return;
    }
    signal?.addEventListener('abort', onAbort);
    rows.forEach((row, index) => this.#enqueue(row, lane, { index, submission }));
    if (lane === 'interactive') this.#backgroundInARow = 0;
    this.#schedule();
  }

  #enqueue(row: Row, lane: Lane, claim: Claim<Result>): void {
    const { key } = row;
    const same = key === undefined ? undefined : this.#keyed[lane].get(key);
    if (same) {
      this.rows.shared++;
      same.claims.push(claim);
      return;
    }
    this.rows.own++;
    const waiting = { row, claims: [claim], alone: false };
    if (key !== undefined) this.#keyed[lane].set(key, waiting);
    this.#lanes[lane].push(waiting);
  }

  /** Drops the rows of a submission that are not in a batch; the others still get their results, but do not run again. */
  #drop(submission: Submission<Result>, lane: Lane): void {
    submission.dropped = true;
    const dropped: Claim<Result>[] = [];
    keep(this.#lanes[lane], (waiting) => this.#hasClaims(waiting, lane, dropped));
    for (const claim of dropped) drop(claim);
  }

  /** Takes away the claims of dropped submissions. @returns whether others are left */
  #hasClaims(waiting: Waiting<Row, Result>, lane: Lane, dropped: Claim<Result>[]): boolean {
    const gone = waiting.claims.filter(({ submission }) => submission.dropped);
    if (gone.length === 0) return true;
    dropped.push(...gone);
    keep(waiting.claims, ({ submission }) => !submission.dropped);
    if (waiting.claims.length === 0) this.#forget(waiting.row, lane);
    return waiting.claims.length > 0;
  }

  /** Lets later rows with the key of this one run on their own. */
  #forget({ key }: Row, lane: Lane): void {
    if (key !== undefined) this.#keyed[lane].delete(key);
  }

  /** Dispatches after the current tick, so that a burst that is already in the socket joins the first batch. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#dispatch();
    });
  }

  /** Runs batches as long as a lane may run one. */
  #dispatch(): void {
    for (let lane = this.#nextLane(); lane !== undefined; lane = this.#nextLane()) {
      void this.#runBatch(this.#take(lane), lane);
    }
  }

  /** The lane whose turn it is; undefined when no lane may run a batch now. */
  #nextLane(): Lane | undefined {
    const [first, second] = this.#background;
    const background = this.#mayRun(first) ? first : this.#mayRun(second) ? second : undefined;
    const interactive = this.#mayRun('interactive');
    if (background === undefined) return interactive ? 'interactive' : undefined;
    this.#turn = (this.#turn + 1) % BACKGROUND_EVERY;
    if (interactive && this.#turn !== 0) return 'interactive';
    this.#background = background === first ? [second, first] : this.#background;
    return background;
  }

  #mayRun(lane: Lane): boolean {
    const [head] = this.#lanes[lane];
    if (!head) return false;
    if (this.#running < this.#executors) return true;
    // If an executor dies, perhaps of another row, all rows it has run again alone: so a row that runs alone must be its only
    // one.
    if (head.alone) return false;
    if (lane === 'interactive') {
      // Interactive batches overtake background batches that were sent ahead.
      if (this.#interactive < this.#executors) return this.#running > this.#executors;
      return this.#running < 2 * this.#executors && this.#wholeBatchAlone;
    }
    return this.#quiet && this.#running < 2 * this.#executors;
  }

  get #quiet(): boolean {
    return this.#quietBudget !== undefined && this.#backgroundInARow >= QUIET_AFTER;
  }

  /**
   * Whether interactive rows for a whole batch wait, and no background rows, whose turn comes when an executor is idle. Simulated
   * with two executors 0.35 ms away, rows/s · p99 against no batch ahead: 64 callers 0.99 · 1.03, with one text in five long
   * 1.03 · 0.97; 256 callers 1.06 · 0.95, 1.08 · 0.93. Half-full batches ahead have fewer rows, which costs CPU.
   */
  get #wholeBatchAlone(): boolean {
    const { interactive, low, bulk } = this.#lanes;
    if (low.length + bulk.length > 0) return false;
    return this.#choose(interactive, this.#budgets.interactive, this.#maxRows).whole;
  }

  /** Takes the next batch out of a lane. */
  #take(lane: Lane): Waiting<Row, Result>[] {
    const queue = this.#lanes[lane];
    // Idle executors share the waiting rows: two halves side by side are done sooner than one whole.
    const idle = Math.max(1, this.#executors - this.#running);
    const maxRows = queue[0]?.alone ? 1 : Math.min(this.#maxRows, Math.ceil(queue.length / idle));
    const { batch } = this.#choose(queue, this.#budgetOf(lane), maxRows);
    remove(queue, batch);
    return batch;
  }

  /** The oldest row of a queue, and the rows that fit beside it, in order. `whole`: no other row would fit, whatever came. */
  #choose(queue: readonly Waiting<Row, Result>[], budget: number, maxRows: number) {
    const [head] = queue;
    if (!head) throw new Error('a batch of an empty lane. This is a bug.');
    const batch = [head];
    let longest = head.row.tokens;
    for (let i = 1; ; i++) {
      // No row fits once another one as long as the longest would exceed the budget.
      if (batch.length >= maxRows || (batch.length + 1) * longest > budget) return { batch, whole: true };
      const candidate = queue[i];
      if (!candidate) return { batch, whole: false };
      const { tokens } = candidate.row;
      const width = Math.max(longest, tokens);
      const padded = (batch.length + 1) * width;
      const padding = padded - batch.length * longest - tokens;
      if (padded <= budget && padding <= this.#maxPadding && !candidate.alone) {
        batch.push(candidate);
        longest = width;
      }
    }
  }

  #budgetOf(lane: Lane): number {
    if (lane === 'interactive') return this.#budgets.interactive;
    this.#backgroundInARow++;
    return this.#quiet ? Math.max(this.#budgets[lane], this.#quietBudget ?? 0) : this.#budgets[lane];
  }

  async #runBatch(batch: Waiting<Row, Result>[], lane: Lane): Promise<void> {
    this.#running++;
    if (lane === 'interactive') this.#interactive++;
    try {
      await this.#settle(batch, lane);
    } finally {
      this.#running--;
      if (lane === 'interactive') this.#interactive--;
      this.#dispatch();
    }
  }

  async #settle(batch: Waiting<Row, Result>[], lane: Lane): Promise<void> {
    const rows = batch.map(({ row }) => row);
    let results: Result[];
    try {
      results = await this.#run(rows, lane);
      if (results.length !== batch.length)
        throw new Error(`run returned ${results.length} results for ${batch.length} rows. This is a bug.`);
    } catch (error) {
      this.#retryAlone(batch, lane, error);
      return;
    }
    batch.forEach(({ row, claims }, i) => {
      this.#forget(row, lane);
      const settled = { result: results[i] as Result, batchRows: batch.length };
      for (const claim of claims) done(claim).settled(claim.index, settled);
    });
  }

  /** Puts the rows of a failed batch back at the front of their lane, to run one by one; fails a row that ran alone. */
  #retryAlone(batch: Waiting<Row, Result>[], lane: Lane, reason: unknown): void {
    const [first] = batch;
    if (batch.length === 1 && first?.alone) {
      this.#forget(first.row, lane);
      const error = reason instanceof Error ? reason : new Error(String(reason));
      for (const claim of first.claims) done(claim).failed(claim.index, error);
      return;
    }
    const dropped: Claim<Result>[] = [];
    for (const waiting of batch) waiting.alone = true;
    this.#lanes[lane].unshift(...batch.filter((waiting) => this.#hasClaims(waiting, lane, dropped)));
    for (const claim of dropped) drop(claim);
  }
}

/** Counts a row as ended. @returns the receiver of its submission */
function done<Result>({ submission }: Claim<Result>): Receiver<Result> {
  if (--submission.left === 0) submission.release();
  return submission.receiver;
}

function drop<Result>(claim: Claim<Result>): void {
  done(claim).failed(claim.index, new RowDropped('dropped before it was run'));
}

/** Removes some items, in the order in which the list has them; looks no further than at the last of them. */
function remove<T>(items: T[], some: readonly T[]): void {
  let kept = 0;
  let looked = 0;
  for (let removed = 0; removed < some.length; looked++) {
    const item = items[looked] as T;
    if (item === some[removed]) removed++;
    else items[kept++] = item;
  }
  items.splice(kept, looked - kept);
}

/** Removes the items that do not pass, in place. */
function keep<T>(items: T[], passes: (item: T) => boolean): void {
  let kept = 0;
  for (const item of items) if (passes(item)) items[kept++] = item;
  items.length = kept;
}
