/** The lines of `amulet model check` about the scripts in the model's vocabulary. */
import type { ModelReport } from '../../shared/contract/model-report.ts';
import { entry, percent } from '../terminal/units.ts';

/** Columns of a terminal without the label. */
const WIDTH = 80 - entry('', '').length;

/** `has emoji, Greek` and `lacks Thai 100 %, Chinese 79 %`, wrapped. */
export function vocabulary(samples: NonNullable<ModelReport['vocabulary']>): string[] {
  const known = samples.filter(({ unknown }) => unknown === 0);
  const lacking = samples.filter(({ unknown }) => unknown > 0);
  const lines = [
    ...(known.length === 0 ? [] : wrap(`has ${known.map(({ script }) => script).join(', ')}`)),
    ...(lacking.length === 0
      ? []
      : wrap(
          `lacks ${lacking.map(({ script, unknown }) => `${script} ${percent(unknown)}`).join(', ')} (of the tokens of a sample)`,
        )),
  ];
  return lines.map((line, i) => entry(i === 0 ? 'Vocabulary' : '', line));
}

/** Breaks between words; a share stays with its unit. */
function wrap(text: string): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.replaceAll(' %', '\u00a0%').split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (longer.length <= WIDTH) line = longer;
    else {
      lines.push(line);
      line = word;
    }
  }
  return [...lines, line].map((each) => each.replaceAll('\u00a0', ' '));
}
