/**
 * Which secrets each process of `npm start` gets. In the environment of the others they are set to an empty string, so that
 * `.env` does not supply them either.
 */
export type Role = 'api' | 'worker' | 'webhooks';

const READERS: Readonly<Record<string, readonly Role[]>> = {
  API_KEYS: ['api'],
  ADMIN_KEYS: ['api'],
  WEBHOOK_SECRET: ['api', 'webhooks'],
  // For the blob store.
  AWS_ACCESS_KEY_ID: ['api', 'worker'],
  AWS_SECRET_ACCESS_KEY: ['api', 'worker'],
  AWS_SESSION_TOKEN: ['api', 'worker'],
  // For the `amulet` command.
  AMULET_API_KEY: [],
  HF_TOKEN: [],
};

/** Environment changes that remove the secrets a role does not read. */
export function withoutSecretsOfOthers(role: Role): Record<string, string> {
  const others = Object.entries(READERS).filter(([, roles]) => !roles.includes(role));
  return Object.fromEntries(others.map(([name]) => [name, '']));
}
