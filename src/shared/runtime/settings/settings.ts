/**
 * SETTINGS: every setting, declared once with its schema, default and meaning, in the order of docs/settings.md. A test compares
 * docs/settings.md, .env.example and docker-compose.yml with it.
 */
import { BATCHES } from './batches.ts';
import { INFERENCE } from './inference.ts';
import { JOBS } from './jobs.ts';
import { REDIS } from './redis.ts';
import { SERVER } from './server.ts';
import { WEBHOOKS } from './webhooks.ts';

export const SETTINGS = {
  ...SERVER,
  ...REDIS,
  ...JOBS,
  ...BATCHES,
  ...WEBHOOKS,
  ...INFERENCE,
} as const;

export type SettingName = keyof typeof SETTINGS;
