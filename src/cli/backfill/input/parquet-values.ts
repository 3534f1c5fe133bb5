/**
 * Values of Parquet columns as JSON, and back, without loss: a kept column has in a Parquet output the type that it has in the input.
 * Times are ISO 8601 with all their digits, decimals of more than 15 digits strings, bytes that are no text `{"base64":"…"}`.
 */
import type { SchemaElement } from 'hyparquet';

/** The type of a column, as part of a state file. */
export type ColumnType = {
  [Name in 'type' | 'converted_type' | 'logical_type' | 'type_length' | 'scale' | 'precision']?:
    SchemaElement[Name] | undefined;
};

export interface Codec {
  /** The column as it is decoded: without the annotations whose decoding would lose digits. */
  raw: SchemaElement;
  /** The column as it is written. */
  written: ColumnType;
  toJson: (value: unknown) => string;
  /** @param json not null */
  fromJson: (json: string) => unknown;
}

/** Digits that a double has. */
const DOUBLE_DIGITS = 15;

/** @returns undefined for a type whose values cannot be kept */
export function codecOf(element: SchemaElement): Codec | undefined {
  const {
    type,
    converted_type: converted,
    logical_type: logical,
    type_length,
    scale = 0,
    precision,
  } = element;
  const raw = { ...element, converted_type: undefined, logical_type: undefined } as unknown as SchemaElement;
  const written: ColumnType = { type, converted_type: converted, logical_type: logical, type_length };
  const own = { raw: element, written };
  const kind = logical?.type ?? converted ?? '';
  switch (kind) {
    case 'DECIMAL': {
      if (type === 'BYTE_ARRAY') return undefined;
      // Readers of JSON round longer numbers, or refuse them.
      const quote = (digits: string) =>
        precision === undefined || precision > DOUBLE_DIGITS ? `"${digits}"` : digits;
      return {
        raw,
        written: { ...written, scale, precision },
        toJson: (value) => quote(decimal(unscaled(value), scale)),
        fromJson: (json) => unscaledOf(unquoted(json), scale),
      };
    }
    case 'DATE':
      return { raw, written, toJson: (value) => date(Number(value)), fromJson: (json) => daysOf(json) };
    case 'TIMESTAMP':
    case 'TIMESTAMP_MILLIS':
    case 'TIMESTAMP_MICROS':
      return timestamps(raw, written);
    case 'TIME':
    case 'TIME_MILLIS':
    case 'TIME_MICROS':
      return { raw, written, ...integers(type) };
    case 'UUID':
      return { ...own, toJson: JSON.stringify, fromJson: parsed };
    case 'FLOAT16':
      return { ...own, toJson: float, fromJson: floatOf };
    case '':
    case 'STRING':
    case 'UTF8':
    case 'ENUM':
    case 'JSON':
    case 'INTEGER':
    case 'INT_8':
    case 'INT_16':
    case 'INT_32':
    case 'INT_64':
    case 'UINT_8':
    case 'UINT_16':
    case 'UINT_32':
    case 'UINT_64':
      break;
    default:
      return undefined;
  }
  switch (type) {
    case 'BOOLEAN':
      return { ...own, toJson: String, fromJson: (json) => json === 'true' };
    case 'INT32':
    case 'INT64':
      return { raw: element, written: integerType(written), ...integers(type) };
    case 'FLOAT':
    case 'DOUBLE':
      return { ...own, toJson: float, fromJson: floatOf };
    case 'INT96':
      return timestamps(element, {
        type: 'INT64',
        logical_type: { type: 'TIMESTAMP', isAdjustedToUTC: false, unit: 'NANOS' },
      });
    case 'BYTE_ARRAY':
    case 'FIXED_LEN_BYTE_ARRAY':
      // hyparquet-writer would write JSON twice.
      return {
        raw: element,
        written: kind === 'JSON' ? { ...written, converted_type: undefined } : written,
        toJson: text,
        fromJson: bytesOf,
      };
    default:
      return undefined;
  }
}

/** hyparquet-writer 0.17 writes the newer annotation of integers so that no other program reads the file. */
function integerType({ type, converted_type: converted, logical_type: logical }: ColumnType): ColumnType {
  if (logical?.type !== 'INTEGER') return { type, converted_type: converted };
  const { isSigned, bitWidth } = logical;
  const older = `${isSigned ? '' : 'U'}INT_${bitWidth}` as ColumnType['converted_type'];
  return { type, converted_type: converted ?? older };
}

const parsed = (json: string): unknown => JSON.parse(json);

/** A string without escapes, or a number: large ids and decimals are strings. */
const unquoted = (json: string): string => (json.startsWith('"') ? json.slice(1, -1) : json);

function integers(type: SchemaElement['type']): Pick<Codec, 'toJson' | 'fromJson'> {
  return {
    toJson: String,
    fromJson: (json) => (type === 'INT64' ? BigInt(unquoted(json)) : Number(unquoted(json))),
  };
}

/** JSON has no NaN and no infinity. */
function float(value: unknown): string {
  if (!Number.isFinite(value)) return `"${String(value)}"`;
  return Object.is(value, -0) ? '-0.0' : String(value);
}

const floatOf = (json: string): number => Number(unquoted(json));

function text(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  const { buffer, byteOffset, byteLength } = value as Uint8Array;
  return `{"base64":"${Buffer.from(buffer, byteOffset, byteLength).toString('base64')}"}`;
}

function bytesOf(json: string): Buffer {
  const value = parsed(json) as string | { base64: string };
  return typeof value === 'string' ? Buffer.from(value) : Buffer.from(value.base64, 'base64');
}

function unscaled(value: unknown): bigint {
  if (!(value instanceof Uint8Array)) return BigInt(value as number | bigint);
  let number = 0n;
  for (const byte of value) number = (number << 8n) | BigInt(byte);
  return BigInt.asIntN(8 * value.length, number);
}

function decimal(value: bigint, scale: number): string {
  const [sign, digits] = value < 0n ? ['-', String(-value)] : ['', String(value)];
  if (scale === 0) return sign + digits;
  const padded = digits.padStart(scale + 1, '0');
  return `${sign}${padded.slice(0, -scale)}.${padded.slice(-scale)}`;
}

function unscaledOf(json: string, scale: number): bigint {
  const [whole = '', fraction = ''] = json.split('.');
  return BigInt(whole + fraction.padEnd(scale, '0'));
}

const DAY_MS = 86_400_000;
/** Last day that a Date has. */
const LAST_DAY = 100_000_000;

/** A day beyond those of a Date stays a number. */
const date = (days: number): string =>
  Math.abs(days) > LAST_DAY ? String(days) : `"${new Date(days * DAY_MS).toISOString().split('T')[0]}"`;

const daysOf = (json: string): number =>
  json.startsWith('"') ? Date.parse(json.slice(1, -1)) / DAY_MS : Number(json);

/** Decimal places of a second. */
const DIGITS = { MILLIS: 3, MICROS: 6, NANOS: 9 } as const;

function timestamps(raw: SchemaElement, written: ColumnType): Codec {
  const { converted_type: converted, logical_type: logical } = written;
  const own = logical?.type === 'TIMESTAMP' ? logical : undefined;
  const digits = DIGITS[own?.unit ?? (converted === 'TIMESTAMP_MICROS' ? 'MICROS' : 'MILLIS')];
  const zone = own?.isAdjustedToUTC === false ? '' : 'Z';
  const perSecond = 10n ** BigInt(digits);
  return {
    raw,
    written,
    toJson: (value) => {
      const ticks = BigInt(value as bigint | number);
      const fraction = ((ticks % perSecond) + perSecond) % perSecond;
      const seconds = Number((ticks - fraction) / perSecond);
      if (Math.abs(seconds) > LAST_DAY * 86_400) return String(ticks);
      const [whole] = new Date(seconds * 1000).toISOString().split('.');
      return `"${whole}.${String(fraction).padStart(digits, '0')}${zone}"`;
    },
    fromJson: (json) => {
      if (!json.startsWith('"')) return BigInt(json);
      const [whole = '', fraction = ''] = json.slice(1, -1).replace('Z', '').split('.');
      return BigInt(Date.parse(`${whole}Z`) / 1000) * perSecond + BigInt(fraction);
    },
  };
}
