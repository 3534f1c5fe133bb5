/** Raw connections that a test writes byte by byte, for requests that no HTTP client sends. */
import { connect, type Socket } from 'node:net';

export interface RawConnection {
  socket: Socket;
  /** What has come so far. */
  answer: () => string;
  closed: Promise<unknown>;
}

const opened = new Set<Socket>();

/** @param request written at once, piece by piece; the caller may write more */
export function openConnection(url: string, ...request: (string | Buffer)[]): RawConnection {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  opened.add(socket);
  let answer = '';
  socket.on('data', (data: Buffer) => (answer += data.toString('latin1')));
  socket.on('error', () => {});
  const closed = new Promise((resolve) => socket.once('close', resolve));
  for (const piece of request) socket.write(piece);
  return { socket, answer: () => answer, closed };
}

/** Destroys all that were opened; for `afterEach`. */
export function closeConnections(): void {
  for (const socket of opened) socket.destroy();
  opened.clear();
}
