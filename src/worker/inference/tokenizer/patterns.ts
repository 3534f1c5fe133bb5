/**
 * Compiles the patterns of tokenizer.json, regular expressions of Oniguruma, for JavaScript. The library rewrites them; syntax
 * that it ignores or reads differently is rewritten here first, or rejected.
 */
import { SplitPreTokenizer } from '@huggingface/tokenizers';
import { StartupError } from '../../../shared/runtime/startup-error.ts';
import { asRecord } from './json.ts';

/**
 * @param pattern `{String}` or `{Regex}`
 * @param where the section of tokenizer.json, for messages
 * @returns with the flags g and u
 * @throws StartupError when the two engines may differ on the pattern, or it is invalid
 */
export function compilePattern(pattern: unknown, where: string): RegExp {
  const { String: literal, Regex: source } = asRecord(pattern) ?? {};
  if (typeof literal === 'string' && literal !== '') return new RegExp(escapeRegExp(literal), 'gu');
  if (typeof source !== 'string' || source === '') {
    throw new StartupError(
      `tokenizer.json: ${where} has the pattern ${JSON.stringify(pattern)}, which is not supported`,
    );
  }
  const refuse = (reason: string) =>
    new StartupError(
      `tokenizer.json: ${where} has the pattern ${JSON.stringify(source)}, which is not supported: ${reason}`,
    );
  const rewritten = rewrite(source);
  if ('unsupported' in rewritten) throw refuse(rewritten.unsupported);
  let compiled: RegExp | null;
  try {
    compiled = new SplitPreTokenizer({ pattern: { Regex: rewritten.source }, behavior: 'Isolated' }).pattern;
  } catch (error) {
    throw refuse(error instanceof Error ? error.message : 'not a regular expression');
  }
  if (!compiled) throw refuse('not a regular expression');
  return compiled;
}

export function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, (character) =>
    character === '-' ? '\\x2d' : `\\${character}`,
  );
}

/** One element of a regular expression, with a group per kind of element. */
const ELEMENT = new RegExp(
  [
    String.raw`(?<class>\[\^?\]?(?:\\.|[^\\\]\[])*\])`,
    String.raw`(?<property>\\[pP]\{\^?(?:\w+)\})`,
    String.raw`(?<escape>\\(?:[sSdDwWrntfv]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|x\{[0-9A-Fa-f]{1,6}\}|[^\w\s]| ))`,
    String.raw`(?<open>\((?:\?(?:i:|:|=|!|<=|<!))?)`,
    String.raw`(?<close>\))`,
    String.raw`(?<quantifier>(?:[?*+]|\{\d+(?:,\d*)?\}|\{,\d+\})[?+]?)`,
    String.raw`(?<other>[|^$.])`,
    String.raw`(?<literal>[^\\\[\](){}?*+|^$.])`,
  ].join('|'),
  'suy',
);

/** Patterns accepted as a whole despite their syntax: BLOOM's, which the library knows and the tests compare. */
const KNOWN = new Set([' ?[^(\\s|[.,!?…。，、।۔،])]+']);

/** General categories and scripts with the same meaning in both engines. */
const PROPERTIES =
  /^\\[pP]\{(?:L[ulmo]?|Lt|M[nce]?|N[dlo]?|P[cdseifo]?|S[mcko]?|Z[slp]?|Han|Hiragana|Katakana|Hangul|Latin|Cyrillic|Greek|Arabic|Hebrew|Thai|Devanagari)\}$/;

/** Letters that match more than their two cases when case is ignored. */
const FOLDED: Record<string, string> = { s: 'sS\u017F', k: 'kK\u212A' };
/** Pairs that match one character when case is ignored: ß, ﬀ, ﬁ, ﬂ, ﬆ and the like. */
const LIGATURES = /ss|ff|fi|fl|st/i;

/**
 * Rewrites a pattern for the library: spells out groups that ignore case, makes groups non-capturing, and replaces possessive
 * quantifiers by a lookahead and a back reference.
 */
function rewrite(source: string): { source: string } | { unsupported: string } {
  if (KNOWN.has(source)) return { source };
  let result = '';
  let atom = 0;
  let atomics = 0;
  const groups: { start: number; ignoreCase: boolean }[] = [];
  let literals = '';
  ELEMENT.lastIndex = 0;
  while (ELEMENT.lastIndex < source.length) {
    const from = ELEMENT.lastIndex;
    const match = ELEMENT.exec(source);
    if (!match?.groups)
      return {
        unsupported: `${JSON.stringify(source.slice(from, from + 8))} may match differently than in Python`,
      };
    const [text] = match;
    const { class: set, property, open, close, quantifier, literal } = match.groups;
    const ignoreCase = groups.at(-1)?.ignoreCase ?? false;
    literals = literal !== undefined ? literals + literal : '';
    const properties = text.match(/\\[pP]\{[^}]*\}/g) ?? [];
    if ((set !== undefined || property !== undefined) && !properties.every((each) => PROPERTIES.test(each)))
      return { unsupported: `${text} may match differently than in Python` };
    if (
      set !== undefined &&
      (/&&|\[:/.test(set) || /\\[^pPsSdDwWrntfvxu\W]/.test(set) || /\\[bBW]/.test(set))
    )
      return { unsupported: `${text} may match differently than in Python` };
    if (open !== undefined) {
      groups.push({ start: result.length, ignoreCase: ignoreCase || open === '(?i:' });
      result += open === '(?i:' || open === '(' ? '(?:' : open;
    } else if (close !== undefined) {
      const group = groups.pop();
      if (!group) return { unsupported: 'it has an unmatched closing parenthesis' };
      result += ')';
      atom = group.start;
    } else if (quantifier !== undefined) {
      if (quantifier.startsWith('{') && quantifier.endsWith('+'))
        return { unsupported: `${quantifier} may match differently than in Python` };
      if (quantifier.length > 1 && quantifier.endsWith('+')) {
        atomics++;
        result = `${result.slice(0, atom)}(?=(${result.slice(atom)}${quantifier.slice(0, -1)}))\\${atomics}`;
        if (groups.length > 0)
          return { unsupported: `${quantifier} in a group may match differently than in Python` };
      } else result += quantifier;
    } else {
      atom = result.length;
      if (!ignoreCase) result += text;
      else {
        if (/[^\0-\x7f]/.test(text) || LIGATURES.test(literals))
          return { unsupported: `${text} in a group that ignores case may match differently than in Python` };
        result += set === undefined ? foldLiteral(text) : foldClass(text);
      }
    }
  }
  return groups.length > 0 ? { unsupported: 'it has an unmatched opening parenthesis' } : { source: result };
}

const casesOf = (letter: string): string =>
  FOLDED[letter.toLowerCase()] ?? `${letter.toLowerCase()}${letter.toUpperCase()}`;

function foldLiteral(text: string): string {
  return /^[a-z]$/i.test(text) ? `[${casesOf(text)}]` : text;
}

/** Adds both cases to the letters of a class. They must not be in a range. */
function foldClass(text: string): string {
  return text.replace(/\\.|[a-z]/gi, (part) => (part.length === 1 ? casesOf(part) : part));
}
