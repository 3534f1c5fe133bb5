/** The secret that webhooks are signed with where the settings name none: made once, kept in a file. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { StartupError } from '../shared/errors.ts';
import { isSecret, newSecret } from '../shared/webhooks/secret.ts';

/**
 * The secret in the file `webhook-secret` of a folder; made when there is none.
 * @throws StartupError when there is something else in the file
 */
export function keepWebhookSecret(dataDir: string): string {
  const file = path.join(dataDir, 'webhook-secret');
  if (!existsSync(file)) {
    mkdirSync(dataDir, { recursive: true });
    writeFileSync(file, `${newSecret()}\n`, { mode: 0o600, flag: 'wx' });
  }
  const secret = readFileSync(file, 'utf8').trim();
  if (!isSecret(secret))
    throw new StartupError(`${file} holds no webhook secret; remove it to have a new one made`);
  return secret;
}
