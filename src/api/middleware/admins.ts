/** Admins: holders of a key in `ADMIN_KEYS`, which opens the admin routes and no others. */
import type { Context } from 'hono';
import { auth } from 'hono/utils/basic-auth';
import type { KeySet } from '../../shared/runtime/api-keys.ts';
import { AppError } from '../../shared/contract/problems.ts';
import type { AppEnv } from '../env.ts';

/** Path of the page of the queues (routes/board.ts), whether it is enabled or not. */
export const BOARD_PATH = '/admin/queues';

/** @throws AppError `unauthorized` unless user and password of the request are the name and the key of an admin */
export function requireAdmin(c: Context<AppEnv>, admins: KeySet): void {
  const presented = auth(c.req.raw);
  if (presented && admins.find(presented.password)?.name === presented.username) return;
  c.set('challenge', 'Basic realm="amulet admin", charset="UTF-8"');
  throw new AppError('unauthorized', 'send the name and the key of an ADMIN_KEYS entry as user and password');
}
