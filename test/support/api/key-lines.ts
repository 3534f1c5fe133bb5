/** API keys as the setting API_KEYS. */
import { keyLine } from '../../../src/shared/runtime/api-keys.ts';

/** The setting API_KEYS for keys by their names. */
export const keyLines = (keys: Readonly<Record<string, string>>): string =>
  Object.entries(keys)
    .map(([name, key]) => keyLine(name, key))
    .join(',');
