/** The report of `amulet model check` on a model folder: made by src/worker/model-check, shown by the CLI. */
import type { ApplyFunction } from './options.ts';
import type { RowResult } from './results.ts';

export interface ModelReport {
  folder: string;
  /** Every reason why the model cannot be served, worded as when a worker refuses to start. Empty: it can be served. */
  problems: string[];
  /** Warnings about a model that can be served. */
  warnings?: string[];
  /** The ONNX file and its external weight files. This and the members below are set as far as the folder could be read. */
  files?: { name: string; bytes: number }[];
  revision?: string;
  /** `model_type` of the config. */
  family?: string | null;
  /** Kind of tokenizer, such as `WordPiece`. */
  tokenizer?: string;
  problem_type?: string | null;
  /** Most tokens of a text that the graph accepts… */
  max_tokens?: number;
  /** …and the most that were tried. */
  tried_tokens?: number;
  /** Which texts may share a micro-batch: any, only those with equal numbers of tokens, or none. */
  batching?: 'mixed' | 'equal_lengths' | 'row_by_row';
  /** Largest difference between the scores of a text alone and in a micro-batch; 0: none. */
  batch_dependence?: number;
  /** The function at the end of the graph, which is not applied again. */
  applied?: 'softmax' | 'sigmoid' | null;
  graph?: { inputs: { name: string; type: string }[]; output: { name: string; type: string; width: number } };
  /** Time to load and warm up. */
  load_ms?: number;
  labels?: string[];
  apply?: ApplyFunction;
  /** What the model was made for, and what its logits are divided by (amulet.json). */
  task?: string;
  temperature?: number;
  /** The model's own thresholds, by label (amulet.json). */
  thresholds?: Record<string, number>;
  /** Result for a text without a known token: an error, or labels all the same (amulet.json). */
  unreadable_text?: 'error' | 'classify';
  /** Languages that the model reads (amulet.json), as codes; null: not known. */
  languages?: string[] | null;
  /** For a sample in each script: its tokens, and the share of them, from 0 to 1, that are missing in the vocabulary. */
  vocabulary?: { script: string; tokens: number; unknown: number }[];
  samples?: { text: string; tokens: number; result: RowResult }[];
  /** Duration of micro-batches by their padded tokens, on one model process. */
  calibration?: { tokens: number; ms: number; us_per_token: number }[];
  /** Padded tokens of a micro-batch that a worker would choose here; null: the measurement was too noisy. */
  budgets?: { interactive: number; background: number } | null;
}
