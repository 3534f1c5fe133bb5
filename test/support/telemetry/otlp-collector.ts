/** A collector of traces that records the spans it receives, as OTLP over HTTP in JSON. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A span as it travels, and the service it is from. */
export interface CollectedSpan {
  service: string;
  name: string;
  kind: number;
  traceId: string;
  spanId: string;
  /** Undefined: the span is the first of its trace. */
  parentSpanId?: string;
  traceState?: string;
  attributes: Record<string, string | number | boolean>;
  links: { traceId: string; spanId: string }[];
  /** Names of its events, such as `exception`. */
  events: string[];
  failed: boolean;
}

interface Attribute {
  key: string;
  value: { stringValue?: string; intValue?: number | string; doubleValue?: number; boolValue?: boolean };
}

interface Message {
  resourceSpans: {
    resource: { attributes: Attribute[] };
    scopeSpans: {
      spans: (Omit<CollectedSpan, 'service' | 'attributes' | 'links' | 'events' | 'failed'> & {
        attributes?: Attribute[];
        links?: CollectedSpan['links'];
        events?: { name: string }[];
        status?: { code?: number };
      })[];
    }[];
  }[];
}

const STATUS_ERROR = 2;

export class OtlpCollector {
  readonly spans: CollectedSpan[] = [];
  /** Everything that came, to look for what must not be there. */
  raw = '';
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => {
      const pieces: Buffer[] = [];
      request.on('data', (piece: Buffer) => pieces.push(piece));
      request.on('end', () => {
        const body = Buffer.concat(pieces).toString();
        this.raw += body;
        if (request.url === '/v1/traces') this.#take(JSON.parse(body) as Message);
        response.writeHead(200, { 'Content-Type': 'application/json' }).end('{}');
      });
    });
  }

  static async start(): Promise<OtlpCollector> {
    const collector = new OtlpCollector();
    await new Promise<void>((resolve) => collector.#server.listen(0, '127.0.0.1', resolve));
    return collector;
  }

  /** The environment of a process that is to send its spans here, at once. */
  get env(): Record<string, string> {
    const { port } = this.#server.address() as AddressInfo;
    return {
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_BSP_SCHEDULE_DELAY: '50',
    };
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #take({ resourceSpans }: Message): void {
    for (const { resource, scopeSpans } of resourceSpans) {
      const service = String(valuesOf(resource.attributes)['service.name']);
      for (const { attributes = [], links = [], events = [], status, ...span } of scopeSpans.flatMap(
        ({ spans }) => spans,
      )) {
        const failed = status?.code === STATUS_ERROR;
        this.spans.push({
          ...span,
          service,
          attributes: valuesOf(attributes),
          links,
          events: events.map(({ name }) => name),
          failed,
        });
      }
    }
  }
}

function valuesOf(attributes: Attribute[]): CollectedSpan['attributes'] {
  return Object.fromEntries(
    attributes.map(({ key, value: { stringValue, intValue, doubleValue, boolValue } }) => [
      key,
      stringValue ?? doubleValue ?? boolValue ?? Number(intValue),
    ]),
  );
}
