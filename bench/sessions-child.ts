/**
 * One process with an ONNX session of the given options, for sessions.ts. It does what the model child does with a batch,
 * but answers only when a whole list of batches is done, so that nothing but the session is measured.
 */
import { InferenceSession, Tensor } from 'onnxruntime-node';

export interface SessionSetup {
  onnxFile: string;
  options: InferenceSession.SessionOptions;
}

/** Rows of one length each: what is measured is padded tokens, and a made-up id costs what a real one costs. */
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
