/** Who runs the service: holders of a key in `ADMIN_KEYS`, which are good for nothing that callers do. */
import type { Context } from 'hono';
import { auth } from 'hono/utils/basic-auth';
import type { KeySet } from '../../shared/runtime/api-keys.ts';
import { AppError } from '../../shared/contract/problems.ts';
import type { AppEnv } from '../env.ts';

/** The page of the queues (routes/board.ts), whether it is there or not. */
export const BOARD_PATH = '/admin/queues';

/** @throws AppError `unauthorized` unless the request has the name and the key of an admin as user and password */
export function requireAdmin(c: Context<AppEnv>, admins: KeySet): void {
  const presented = auth(c.req.raw);
  if (presented && admins.find(presented.password)?.name === presented.username) return;
  c.set('challenge', 'Basic realm="amulet admin", charset="UTF-8"');
  throw new AppError('unauthorized', 'user and password are the name and the key of one of ADMIN_KEYS');
}
