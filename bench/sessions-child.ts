/**
 * A process with an ONNX session of the given options, for sessions.ts. It runs batches like a model process, but responds
 * only after a whole list of batches, so that only the session is measured.
 */
import { InferenceSession, Tensor } from 'onnxruntime-node';

export interface SessionSetup {
  onnxFile: string;
  options: InferenceSession.SessionOptions;
}

/** Rows and length of a batch. Cost depends on padded tokens alone, so the ids are arbitrary. */
export type BatchShape = [rows: number, tokens: number];

const { onnxFile, options } = JSON.parse(process.argv[2]!) as SessionSetup;
const session = await InferenceSession.create(onnxFile, options);

async function run([rows, tokens]: BatchShape): Promise<void> {
  const size = rows * tokens;
  const ids = BigInt64Array.from({ length: size }, (_, i) => BigInt(1000 + ((i * 7919) % 20_000)));
  const data = {
    input_ids: ids,
    attention_mask: new BigInt64Array(size).fill(1n),
    token_type_ids: new BigInt64Array(size),
  };
  await session.run(
    Object.fromEntries(
      Object.entries(data).map(([name, values]) => [name, new Tensor('int64', values, [rows, tokens])]),
    ),
  );
}

async function runAll(batches: BatchShape[]): Promise<void> {
  for (const batch of batches) await run(batch);
}

process.on('message', (batches: BatchShape[]) => {
  void runAll(batches).then(() => process.send?.('done'));
});
process.on('disconnect', () => process.exit(0));
process.send?.('ready');
