/** Requests made from an OpenAPI document, and a check that answers match it. */
import { Ajv2020, type AnySchema, type ValidateFunction } from 'ajv/dist/2020.js';
import fc from 'fast-check';

/** The JSON Schema that the service's document uses; a keyword that is not here is a reason to add it. */
export interface Schema {
  $ref?: string;
  anyOf?: Schema[];
  /** Beside properties: which of them have to be there. */
  oneOf?: { required: string[] }[];
  dependentRequired?: Record<string, string[]>;
  enum?: unknown[];
  example?: unknown;
  type?: string | string[];
  format?: string;
  contentMediaType?: string;
  pattern?: string;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  items?: Schema;
  minItems?: number;
  maxItems?: number;
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
  minProperties?: number;
  maxProperties?: number;
  propertyNames?: { maxLength: number };
}

type Content = Record<
  string,
  { schema: Schema; example?: unknown; examples?: Record<string, { value: unknown }> }
>;

interface DocumentedOperation {
  parameters?: { name: string; in: 'path' | 'query' | 'header'; required: boolean; schema: Schema }[];
  requestBody?: { required?: boolean; content: Content };
  responses: Record<string, { content?: Content }>;
  security?: object[];
}

export interface OpenApiDocument {
  paths: Record<string, Record<string, DocumentedOperation>>;
  components: { schemas: Record<string, Schema> };
}

export interface Operation extends DocumentedOperation {
  /** How fast-check shows it. */
  toString(): string;
  method: string;
  path: string;
}

export function operationsOf({ paths }: OpenApiDocument): Operation[] {
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      ...operation,
      method: method.toUpperCase(),
      path,
      toString: () => `${method.toUpperCase()} ${path}`,
    })),
  );
}

const REF = '#/components/schemas/';
/** Long enough for anything to be wrong with it. */
const MAX_CHARS = 40;
const MAX_ITEMS = 4;

/** Values that a schema allows, its example most of the time. @param anything strings that it says nothing about: what is likely to be understood */
export function valid(
  schema: Schema,
  { components }: OpenApiDocument,
  anything: fc.Arbitrary<string>,
): fc.Arbitrary<unknown> {
  const make = (part: Schema): fc.Arbitrary<unknown> => {
    if (part.$ref !== undefined) return make(named(part.$ref, components.schemas));
    if (part.enum) return fc.constantFrom(...part.enum);
    if (part.anyOf) return fc.oneof(...part.anyOf.map(make));
    const values = [part.type ?? 'any'].flat().map((type) => ofType(type, part));
    // Without these most requests would be about models that are not there.
    if (part.example === undefined) return fc.oneof(...values);
    return fc.oneof({ weight: 7, arbitrary: fc.constant(part.example) }, ...values);
  };
  const ofType = (type: string, part: Schema): fc.Arbitrary<unknown> => {
    const { minimum: min, maximum: max, minLength = 0, minItems: fewest = 0 } = part;
    switch (type) {
      case 'null':
        return fc.constant(null);
      case 'boolean':
        return fc.boolean();
      case 'integer':
        return fc.integer({ ...(min === undefined ? {} : { min }), ...(max === undefined ? {} : { max }) });
      case 'string':
        if (part.format === 'uri') return fc.constantFrom(...RECEIVERS);
        if (part.contentMediaType === 'application/json')
          return anyObject.map((each) => JSON.stringify(each));
        if (part.pattern !== undefined) return matching(part.pattern, part);
        if (part.maxLength === undefined && minLength === 0) return anything;
        return fc.string({ minLength, maxLength: Math.min(part.maxLength ?? MAX_CHARS, MAX_CHARS) });
      case 'array':
        return fc.array(make(part.items ?? {}), {
          minLength: fewest,
          maxLength: Math.max(fewest, Math.min(part.maxItems ?? MAX_ITEMS, MAX_ITEMS)),
        });
      case 'object': {
        const { properties = {}, required = [], oneOf = [{ required: [] }] } = part;
        if (typeof part.additionalProperties === 'object') return membersOf(part, part.additionalProperties);
        if (Object.keys(properties).length === 0) return anyObject;
        const choices = oneOf.map((choice) => {
          const others = oneOf.flatMap((other) => (other === choice ? [] : other.required));
          const rest = Object.entries(properties).filter(([name]) => !others.includes(name));
          return fc.record(Object.fromEntries(rest.map(([name, each]) => [name, make(each)])), {
            requiredKeys: [...required, ...choice.required],
          });
        });
        return fc.oneof(...choices).map((value) => withoutOrphans(value, part.dependentRequired));
      }
      case 'number':
        return fc.double({ noNaN: true, noDefaultInfinity: true });
      case 'any':
        return fc.jsonValue({ maxDepth: 2 });
      default:
        throw new Error(`no values are made for the type ${type}`);
    }
  };
  const membersOf = (
    { minProperties = 0, maxProperties = MAX_ITEMS, propertyNames }: Schema,
    member: Schema,
  ) =>
    fc.dictionary(
      fc.string({ maxLength: Math.min(propertyNames?.maxLength ?? MAX_CHARS, MAX_CHARS) }),
      make(member),
      {
        minKeys: minProperties,
        maxKeys: Math.min(maxProperties, MAX_ITEMS),
      },
    );
  return make(schema);
}

const RECEIVERS = ['https://example.com/hook', 'https://hooks.example.com:443/a?b=c#d', 'https://8.8.8.8/'];

const anyObject = fc.dictionary(fc.string({ maxLength: MAX_CHARS }), fc.jsonValue({ maxDepth: 2 }), {
  maxKeys: MAX_ITEMS,
});

/** Strings of a pattern; one with lengths says which characters there may be, and these are of every kind. */
function matching(pattern: string, { minLength = 0, maxLength }: Schema): fc.Arbitrary<string> {
  const regex = new RegExp(pattern, 'u');
  if (pattern.startsWith('^') && maxLength === undefined) return fc.stringMatching(new RegExp(pattern));
  const max = Math.min(maxLength ?? MAX_CHARS, MAX_CHARS);
  // Code points, as JSON Schema counts them.
  const units = ['grapheme-ascii', 'binary'] as const;
  const some = units.map((unit) => fc.string({ unit, minLength, maxLength: max }));
  const longest = fc.constantFrom('x', '🎬').map((unit) => unit.repeat(maxLength ?? 1));
  return fc.oneof(...some, longest).filter((each) => regex.test(each));
}

function withoutOrphans(value: object, dependentRequired: Record<string, string[]> = {}): object {
  return Object.fromEntries(
    Object.entries(value).filter(([name]) =>
      (dependentRequired[name] ?? []).every((other) => other in value),
    ),
  );
}

/** Values with one place of them replaced, or left out. */
export function nearMiss(values: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  const other = fc.option(fc.jsonValue({ maxDepth: 2 }), { nil: undefined });
  return fc.tuple(values, fc.nat(), other).map(([value, place, replacement]) => {
    const all = placesOf(value);
    return replaced(value, all[place % all.length] as PropertyKey[], replacement ?? undefined);
  });
}

function placesOf(value: unknown): PropertyKey[][] {
  if (typeof value !== 'object' || value === null) return [[]];
  return [
    [],
    ...Object.entries(value).flatMap(([key, inner]) => placesOf(inner).map((place) => [key, ...place])),
  ];
}

function replaced(value: unknown, [key, ...inner]: PropertyKey[], replacement: unknown): unknown {
  if (key === undefined) return replacement;
  if (Array.isArray(value))
    return value.map((each, index) =>
      String(index) === key ? (replaced(each, inner, replacement) ?? null) : (each as unknown),
    );
  const copy = { ...(value as Record<PropertyKey, unknown>) };
  copy[key] = replaced(copy[key], inner, replacement);
  return copy;
}

/** What is wrong with values, by the document; answers must not have a field that it does not know, either. */
export class Checker {
  readonly #ajv = new Ajv2020({ strict: false, allErrors: true });
  readonly #document: OpenApiDocument;
  readonly #compiled = new Map<Schema, ValidateFunction>();

  constructor(document: OpenApiDocument) {
    this.#document = document;
    this.#ajv.addFormat('uri', (url) => URL.canParse(url));
    this.#ajv.addFormat('date-time', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  }

  /** Whether a request body may have this value. */
  allows(schema: Schema, value: unknown): boolean {
    return this.#validator(schema, (whole) => whole)(value);
  }

  /** Whether a parameter may be written like this. */
  allowsParameter(schema: Schema, written: string): boolean {
    if (schema.type !== 'integer') return this.allows(schema, written);
    return /^\d+$/.test(written) && this.allows(schema, Number(written));
  }

  /** @returns what an answer has that the document does not promise; empty: nothing */
  faults(
    { responses }: Operation,
    { status, contentType, body }: { status: number; contentType: string | null; body: string },
  ): string {
    const documented = responses[status];
    if (!documented) return `status ${status} is none of ${Object.keys(responses).join(', ')}`;
    if (!documented.content) return body === '' ? '' : 'a body where none is documented';
    const type = contentType?.replace(/ *;.*/, '') ?? 'none';
    const media = documented.content[type];
    if (!media) return `content type ${type} is none of ${Object.keys(documented.content).join(', ')}`;
    const isJson = /[/+]json$/.test(type);
    const validate = this.#validator(media.schema, closed);
    return validate(isJson ? JSON.parse(body) : body) ? '' : this.#ajv.errorsText(validate.errors);
  }

  #validator(schema: Schema, prepare: (whole: object) => object): ValidateFunction {
    const known = this.#compiled.get(schema);
    if (known) return known;
    const { components } = this.#document;
    const compiled = this.#ajv.compile(prepare({ ...schema, components }) as AnySchema);
    this.#compiled.set(schema, compiled);
    return compiled;
  }
}

/** A schema whose objects have no other fields than it lists; problems may have (RFC 9457 §3.2). */
function closed(schema: object): object {
  if (Array.isArray(schema)) return schema.map((each) => (isObject(each) ? closed(each) : (each as unknown)));
  const inner = Object.fromEntries(
    Object.entries(schema).map(([key, value]) => [
      key,
      isObject(value) && key !== 'Problem' ? closed(value) : (value as unknown),
    ]),
  );
  const lists = 'type' in schema && schema.type === 'object' && 'properties' in schema;
  return lists && !('additionalProperties' in schema) ? { ...inner, additionalProperties: false } : inner;
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null;

function named(ref: string, schemas: Record<string, Schema>): Schema {
  const schema = schemas[ref.replace(REF, '')];
  if (!schema) throw new Error(`${ref} is not in the document`);
  return schema;
}
