/** A model in words: in the choice of one, and in the line below it. */
import { languageList } from '../../../shared/contract/languages.ts';
import type { Model } from '../../../shared/contract/models.ts';

/** The languages of a model with more are read as "and 84 more". */
const NAMED = 20;

/** `sst2-minilm (English)`, `multi (14 languages, no worker)` */
export function optionText({ name, workers, languages }: Model): string {
  const notes = [
    ...(languages
      ? [languages.length === 1 ? languageList(languages) : `${languages.length} languages`]
      : []),
    ...(workers === 0 ? ['no worker'] : []),
  ];
  return notes.length === 0 ? name : `${name} (${notes.join(', ')})`;
}

/** `Reads English and Russian.`; empty when the languages are not known. */
export const readsText = (languages: readonly string[] | null): string =>
  languages === null ? '' : `Reads ${languageList(languages, NAMED)}.`;
