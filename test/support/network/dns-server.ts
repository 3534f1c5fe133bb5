/** A DNS server for tests: answers from a table, can change its answer between two queries, and can stay silent. */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import ipaddr from 'ipaddr.js';

/** What a query finds: the addresses of the kind it asks for; nothing at all; no such name; a server that has failed. */
type Found = readonly string[] | 'silence' | 'no such name' | 'failure';
/** What a look-up finds, which is a query for each kind. */
export type DnsAnswer = Found | Readonly<Record<'A' | 'AAAA', Found>>;

const TYPES: Readonly<Record<number, 'A' | 'AAAA'>> = { 1: 'A', 28: 'AAAA' };
const HEADER_BYTES = 12;
/** Response, recursion desired and available. */
const RESPONSE = 0x8180;
const CODES = { 'no such name': 3, failure: 2 } as const;
/** Long: whoever keeps answers would be found out. */
const TTL_S = 3600;

export class DnsServer {
  readonly queries: { name: string; type: 'A' | 'AAAA' }[] = [];
  readonly #socket: Socket;
  readonly #answers = new Map<string, readonly DnsAnswer[]>();

  private constructor() {
    this.#socket = createSocket('udp4');
    this.#socket.on('message', (query, from) => this.#onQuery(query, from));
  }

  /** On any free port of loopback. */
  static async start(): Promise<DnsServer> {
    const server = new DnsServer();
    await new Promise<void>((resolve) => server.#socket.bind(0, '127.0.0.1', resolve));
    return server;
  }

  /** As WEBHOOK_DNS takes it. */
  get address(): string {
    return `127.0.0.1:${this.#socket.address().port}`;
  }

  /** What a name is answered with: by the first look-up, by the second, …; the last stays. Other names do not exist. */
  set(name: string, ...answers: [DnsAnswer, ...DnsAnswer[]]): void {
    this.#answers.set(name, answers);
  }

  /** How often the addresses of a kind were asked for. */
  count(name: string, type: 'A' | 'AAAA'): number {
    return this.queries.filter((query) => query.name === name && query.type === type).length;
  }

  async stop(): Promise<void> {
    await new Promise<void>((resolve) => this.#socket.close(resolve));
  }

  #onQuery(query: Buffer, from: RemoteInfo): void {
    const labels: string[] = [];
    let at = HEADER_BYTES;
    for (let length = query.readUInt8(at); length > 0; length = query.readUInt8(at)) {
      labels.push(query.toString('latin1', at + 1, at + 1 + length));
      at += 1 + length;
    }
    const name = labels.join('.').toLowerCase();
    const type = TYPES[query.readUInt16BE(at + 1)];
    if (type === undefined) return;
    const answers = this.#answers.get(name) ?? ['no such name'];
    const both = answers[Math.min(this.count(name, type), answers.length - 1)]!;
    const answer = typeof both === 'object' && 'A' in both ? both[type] : both;
    this.queries.push({ name, type });
    if (answer === 'silence') return;
    const question = query.subarray(HEADER_BYTES, at + 5);
    this.#socket.send(reply(query.readUInt16BE(0), question, type, answer), from.port, from.address);
  }
}

function reply(id: number, question: Buffer, type: 'A' | 'AAAA', answer: Exclude<Found, 'silence'>): Buffer {
  const addresses = typeof answer === 'string' ? [] : answer.map((address) => ipaddr.parse(address));
  const records = addresses
    .filter((address) => (address.kind() === 'ipv4') === (type === 'A'))
    .map((address) => {
      const bytes = Buffer.from(address.toByteArray());
      const record = Buffer.alloc(HEADER_BYTES);
      // The name is that of the question.
      record.writeUInt16BE(0xc000 + HEADER_BYTES, 0);
      record.writeUInt16BE(type === 'A' ? 1 : 28, 2);
      record.writeUInt16BE(1, 4);
      record.writeUInt32BE(TTL_S, 6);
      record.writeUInt16BE(bytes.length, 10);
      return Buffer.concat([record, bytes]);
    });
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(RESPONSE | (typeof answer === 'string' ? CODES[answer] : 0), 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(records.length, 6);
  return Buffer.concat([header, question, ...records]);
}
