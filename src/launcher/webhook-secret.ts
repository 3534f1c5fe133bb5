/** The secret that signs webhooks when WEBHOOK_SECRET is unset: created once and kept in a file. */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { StartupError } from '../shared/runtime/startup-error.ts';
import { toError } from '../shared/runtime/to-error.ts';
import { makeFolder } from '../shared/runtime/make-folder.ts';
import { isSecret, newSecret } from '../shared/runtime/webhook-secret.ts';

/**
 * Reads the secret from the file `webhook-secret` of the data folder; creates the file when it is missing.
 * @throws StartupError when the file holds something else
 */
export function readOrCreateWebhookSecret(dataDir: string): string {
  const file = path.join(dataDir, 'webhook-secret');
  const secret = readOrCreate(file);
  if (!isSecret(secret))
    throw new StartupError(
      `${file} does not hold a webhook secret: remove the file, and a new secret is created`,
    );
  return secret;
}

function readOrCreate(file: string): string {
  try {
    if (!existsSync(file)) {
      makeFolder(path.dirname(file));
      // Renamed into place: a full disk must not leave an empty file, which an operator would have to remove.
      writeFileSync(`${file}.new`, `${newSecret()}\n`, { mode: 0o600 });
      renameSync(`${file}.new`, file);
    }
    return readFileSync(file, 'utf8').trim();
  } catch (error) {
    const reason = `${toError(error).message}: give this user the right to it, or set WEBHOOK_SECRET`;
    throw new StartupError(`${file}: ${reason}`, { cause: error });
  }
}
