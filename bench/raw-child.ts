/**
 * One process of raw.ts: tokenises everything, sorts by length and runs batches, in a plain loop without queue, HTTP or
 * callers. Responds to every message with the CPU of its tokenizer.
 */
import path from 'node:path';
import { Model } from '../src/worker/inference/model.ts';
import { readModelFolder } from '../src/worker/inference/model-folder.ts';
import { TextTokenizer } from '../src/worker/inference/tokenizer.ts';

/** Padded tokens of a batch. */
const BUDGET = 256;

const folder = readModelFolder(path.resolve(process.argv[2]!), undefined);
const model = await Model.load({
  type: 'load',
  onnxFile: folder.onnxFile,
  executionProviders: ['cpu'],
  intraOpThreads: 1,
});
await model.warmUp();
const tokenizer = new TextTokenizer(folder.folder, folder.maxTokens);

/** What a process answers. */
export interface RawAnswer {
  tokenizerMicros: number;
}

async function loop(texts: string[]): Promise<RawAnswer> {
  const before = process.cpuUsage();
  const rows = texts.map((text) => tokenizer.encodeNow(text).ids).sort((a, b) => a.length - b.length);
  const { user, system } = process.cpuUsage(before);
  for (let start = 0; start < rows.length;) {
    let end = start + 1;
    while (end < rows.length && (end + 1 - start) * rows[end]!.length <= BUDGET) end++;
    const batch = rows.slice(start, end);
    const ids = new Int32Array(batch.reduce((sum, row) => sum + row.length, 0));
    let offset = 0;
    for (const row of batch) {
      ids.set(row, offset);
      offset += row.length;
    }
    await model.run({ ids, lengths: Int32Array.from(batch, (row) => row.length), typeIds: undefined });
    start = end;
  }
  return { tokenizerMicros: user + system };
}

process.on('message', (texts: string[]) => {
  void loop(texts).then((answer) => process.send?.(answer));
});
process.on('disconnect', () => process.exit(0));
process.send?.('ready');
