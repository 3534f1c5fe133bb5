/** What `amulet model check` finds out about a model folder: made by src/worker/model-check, shown by the CLI. */
import type { ApplyFunction } from './jobs.ts';
import type { RowResult } from './results.ts';

export interface ModelReport {
  folder: string;
  /** Every reason why it cannot be served, in the words in which a worker refuses to start. Empty: it can. */
  problems: string[];
  /** What its owner should know although it can be served. */
  warnings?: string[];
  /** The parts below are there as far as it could be read. */
  /** The ONNX file, and those that hold its weights outside it. */
  files?: { name: string; bytes: number }[];
  revision?: string;
  /** `model_type` of the config. */
  family?: string | null;
  /** Kind of tokenizer, such as `WordPiece`. */
  tokenizer?: string;
  problem_type?: string | null;
  /** Most tokens of a text, as the graph takes them… */
  max_tokens?: number;
  /** …and the most that were tried. */
  tried_tokens?: number;
  /** Which texts may share a batch: any, those of the same number of tokens, or none. */
  batching?: 'mixed' | 'equal_lengths' | 'row_by_row';
  /** Largest difference between the score of a text alone and in a batch; 0: none. */
  batch_dependence?: number;
  /** The graph ends in this function; it is not applied again. */
  applied?: 'softmax' | 'sigmoid' | null;
  graph?: { inputs: { name: string; type: string }[]; output: { name: string; type: string; width: number } };
  /** Until it was loaded and warm. */
  load_ms?: number;
  labels?: string[];
  apply?: ApplyFunction;
  /** What becomes of a text of which the model knows no token: an error, or labels all the same (amulet.json). */
  unreadable_text?: 'error' | 'classify';
  /** For a sample in each script: its tokens, and the share of them, from 0 to 1, that are not in the vocabulary. */
  vocabulary?: { script: string; tokens: number; unknown: number }[];
  samples?: { text: string; tokens: number; result: RowResult }[];
  /** Milliseconds of batches of so many padded tokens, on one model process. */
  calibration?: { tokens: number; ms: number; us_per_token: number }[];
  /** Padded tokens of a batch that a worker would choose here; null: the measurement was too noisy. */
  budgets?: { interactive: number; background: number } | null;
}
