/** Post-processors of tokenizer.json: add the special tokens around a text. */
import { StartupError } from '../../../shared/runtime/startup-error.ts';
import { asRecord, isId, type JsonObject } from './json.ts';

export interface Frame {
  /** Token ids before and after those of the text, and their segment ids. */
  prefix: readonly number[];
  prefixTypes: readonly number[];
  suffix: readonly number[];
  suffixTypes: readonly number[];
  /** Segment id of the tokens of the text. */
  type: number;
}

const BARE: Frame = { prefix: [], prefixTypes: [], suffix: [], suffixTypes: [], type: 0 };

/**
 * @param config one that `checkDefinition` accepted, or null
 * @throws StartupError when it does more than put special tokens around one text
 */
export function createFrame(config: JsonObject | null): Frame {
  switch (config?.type) {
    case 'Sequence': {
      // ByteLevel only moves offsets.
      const framing = flatten(config).filter(({ type }) => type !== 'ByteLevel');
      if (framing.length > 1) {
        const types = framing.map(({ type }) => type as string).join(' and ');
        throw new StartupError(
          `tokenizer.json uses the post_processors ${types} together, which is not supported`,
        );
      }
      return createFrame(framing[0] ?? null);
    }
    case 'BertProcessing':
    case 'RobertaProcessing': {
      const [prefix, suffix] = [[(config.cls as [string, number])[1]], [(config.sep as [string, number])[1]]];
      return { ...BARE, prefix, prefixTypes: [0], suffix, suffixTypes: [0] };
    }
    case 'TemplateProcessing':
      return template(config);
    default:
      return BARE;
  }
}

function flatten(config: JsonObject): JsonObject[] {
  if (config.type !== 'Sequence') return [config];
  return (config.processors as JsonObject[]).flatMap(flatten);
}

function template(config: JsonObject): Frame {
  const specialTokens = asRecord(config.special_tokens) ?? {};
  const frame = { prefix: [] as number[], prefixTypes: [] as number[], suffix: [] as number[] };
  const suffixTypes: number[] = [];
  let type: number | undefined;
  for (const piece of config.single as unknown[]) {
    const { SpecialToken: special, Sequence: sequence } = asRecord(piece) ?? {};
    const { id, type_id: typeId = 0 } = asRecord(special) ?? asRecord(sequence) ?? {};
    if (!isId(typeId) || typeof id !== 'string') throw invalid('a piece without an id');
    if (special === undefined) {
      if (type !== undefined || id !== 'A') throw invalid('a text other than A, or the text twice');
      type = typeId;
      continue;
    }
    const ids = asRecord(Object.hasOwn(specialTokens, id) ? specialTokens[id] : undefined)?.ids;
    if (!Array.isArray(ids) || !ids.every(isId)) throw invalid(`no ids for ${JSON.stringify(id)}`);
    (type === undefined ? frame.prefix : frame.suffix).push(...ids);
    (type === undefined ? frame.prefixTypes : suffixTypes).push(...ids.map(() => typeId));
  }
  if (type === undefined) throw invalid('no place for the text');
  return { ...frame, suffixTypes, type };
}

function invalid(reason: string): StartupError {
  return new StartupError(`tokenizer.json: the template for one text of the post_processor has ${reason}`);
}
