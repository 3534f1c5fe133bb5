/**
 * Which secrets each process of `npm start` reads. In the environment of the others they are empty, which also keeps them from
 * being read from `.env`.
 */
export type Role = 'api' | 'worker' | 'webhooks';

const READERS: Readonly<Record<string, readonly Role[]>> = {
  API_KEYS: ['api'],
  ADMIN_KEYS: ['api'],
  WEBHOOK_SECRET: ['api', 'webhooks'],
  // Of the blob store.
  AWS_ACCESS_KEY_ID: ['api', 'worker'],
  AWS_SECRET_ACCESS_KEY: ['api', 'worker'],
  AWS_SESSION_TOKEN: ['api', 'worker'],
  // Of the command.
  AMULET_API_KEY: [],
  HF_TOKEN: [],
};

/** Changes of the environment that take the secrets of others from it. */
export function withoutSecretsOfOthers(role: Role): Record<string, string> {
  const others = Object.entries(READERS).filter(([, roles]) => !roles.includes(role));
  return Object.fromEntries(others.map(([name]) => [name, '']));
}
