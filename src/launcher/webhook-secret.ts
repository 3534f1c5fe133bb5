/** The secret that webhooks are signed with where the settings name none: made once, kept in a file. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { StartupError, toError } from '../shared/errors.ts';
import { isSecret, newSecret } from '../shared/webhooks/secret.ts';

/**
 * The secret in the file `webhook-secret` of a folder; made when there is none.
 * @throws StartupError when there is something else in the file
 */
export function keepWebhookSecret(dataDir: string): string {
  const file = path.join(dataDir, 'webhook-secret');
  const secret = readOrMake(file);
  if (!isSecret(secret))
    throw new StartupError(`${file} holds no webhook secret; remove it to have a new one made`);
  return secret;
}

function readOrMake(file: string): string {
  try {
    if (!existsSync(file)) {
      mkdirSync(path.dirname(file), { recursive: true });
      writeFileSync(file, `${newSecret()}\n`, { mode: 0o600, flag: 'wx' });
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
