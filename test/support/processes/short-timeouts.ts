/**
 * Preloaded into a process (NODE_OPTIONS=--import=…): Node's default timeout of a whole request is one second here instead of
 * five minutes, that of the headers too, whatever the process sets, and both are checked ten times a second.
 */
import http from 'node:http';
import { syncBuiltinESMExports } from 'node:module';

const LIMITS = { requestTimeout: 1000, headersTimeout: 1000, connectionsCheckingInterval: 100 };
const { createServer } = http;

http.createServer = ((
  options: http.ServerOptions | http.RequestListener,
  listener?: http.RequestListener,
) => {
  const server =
    typeof options === 'function'
      ? createServer(LIMITS, options)
      : createServer({ ...LIMITS, ...options }, listener);
  // KEEP_ALIVE_S makes it more than a minute.
  Object.defineProperty(server, 'headersTimeout', { get: () => LIMITS.headersTimeout, set: () => {} });
  return server;
}) as typeof createServer;
syncBuiltinESMExports();
