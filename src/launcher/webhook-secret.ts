/** The secret that webhooks are signed with where the settings name none: made once, kept in a file. */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { StartupError } from '../shared/runtime/startup-error.ts';
import { toError } from '../shared/runtime/to-error.ts';
import { makeFolder } from '../shared/runtime/make-folder.ts';
import { isSecret, newSecret } from '../shared/runtime/webhook-secret.ts';

/**
 * The secret in the file `webhook-secret` of a folder; made when there is none.
 * @throws StartupError when there is something else in the file
 */
export function readOrCreateWebhookSecret(dataDir: string): string {
  const file = path.join(dataDir, 'webhook-secret');
  const secret = readOrMake(file);
  if (!isSecret(secret))
    throw new StartupError(`${file} holds no webhook secret; remove it to have a new one made`);
  return secret;
}

function readOrMake(file: string): string {
  try {
    if (!existsSync(file)) {
      makeFolder(path.dirname(file));
      // A full disk must not leave an empty file, which somebody would have to remove.
      writeFileSync(`${file}.new`, `${newSecret()}\n`, { mode: 0o600 });
      renameSync(`${file}.new`, file);
    }
    return readFileSync(file, 'utf8').trim();
  } catch (error) {
    throw new StartupError(
      `${file}: ${toError(error).message}: give this user the right to it, or set WEBHOOK_SECRET`,
      {
        cause: error,
      },
    );
  }
}
