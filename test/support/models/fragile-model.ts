/** A model that crashes or throws on some texts, behind the real engines, batcher and classifier, in this process. */
import { pino } from 'pino';
import { Batcher } from '../../../src/worker/inference/batcher.ts';
import { Classifier, type TextRow } from '../../../src/worker/inference/classifier.ts';
import type { EngineOptions } from '../../../src/worker/inference/engine.ts';
import { EnginePool } from '../../../src/worker/inference/engine-pool.ts';
import type { TextTokenizer } from '../../../src/worker/inference/tokenizer.ts';

const CHILD = new URL('./crashing-child.ts', import.meta.url);
/** First token ids that the child misbehaves at, by the first word of a text. */
const IDS: Record<string, number> = { crash: 666, throw: 667 };

/** Options for model processes that crash, hang or throw at some token ids (crashing-child.ts). */
export const crashing = (onnxFile = 'x'): EngineOptions => ({
  load: { onnxFile, executionProviders: ['cpu'], intraOpThreads: 1 },
  runTimeoutMs: 10_000,
  logger: pino({ level: 'silent' }),
  onGiveUp: () => {},
  childEntry: CHILD,
});

/** A text that begins with `crash` kills its model process every time, one that begins with `throw` makes the model throw. */
export async function fragileModel(): Promise<{ pool: EnginePool; classifier: Classifier }> {
  const pool = await EnginePool.start(2, crashing());
  const encode = (text: string) => {
    const ids = Int32Array.of(IDS[text.split(' ')[0]!] ?? 1, ...Buffer.from(text).subarray(0, 20));
    return Promise.resolve({
      ids,
      typeIds: undefined,
      truncated: false,
      own: ids.length,
      unknown: 0,
      blank: 0,
      foreign: 0,
    });
  };
  const classifier = new Classifier({
    tokenizer: { encode, encodeInBackground: encode } as unknown as TextTokenizer,
    batcher: new Batcher<TextRow, Float32Array>({
      run: (rows) => pool.run(rows.map(({ encoded }) => encoded)),
      executors: pool.size,
      budgets: { interactive: 128, low: 128, bulk: 128 },
    }),
    labels: ['a', 'b'],
    apply: 'softmax',
    maxTokens: 64,
  });
  return { pool, classifier };
}
