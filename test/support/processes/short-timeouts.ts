/**
 * Preloaded into a process (NODE_OPTIONS=--import=…): what Node allows a whole request by default is one second here
 * instead of five minutes, and it looks ten times a second.
 */
import http from 'node:http';
import { syncBuiltinESMExports } from 'node:module';

const LIMITS = { requestTimeout: 1000, headersTimeout: 1000, connectionsCheckingInterval: 100 };
const { createServer } = http;

http.createServer = ((options: http.ServerOptions | http.RequestListener, listener?: http.RequestListener) =>
  typeof options === 'function'
    ? createServer(LIMITS, options)
    : createServer({ ...LIMITS, ...options }, listener)) as typeof createServer;
syncBuiltinESMExports();
