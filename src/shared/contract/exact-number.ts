/** Finds JSON numbers that a double cannot hold: 1546130668394913822 becomes 1546130668394913800, 1e400 becomes Infinity and then null. */

/** Doubles hold every decimal number of up to 15 digits. */
const SAFE_DIGITS = 15;
const ZERO = 0x30;

/**
 * The number that a JSON number becomes when it is read as a double and written again, if it differs: 1.0 and 1e2 come back as the
 * equal 1 and 100; 0.12345678901234567890 and -0 change.
 * @param literal a number in a JSON text
 * @returns the changed number (`null` beyond 1.8e308), or undefined when it stays the same
 */
export function numberLoss(literal: string): string | undefined {
  const value = Number(literal);
  if (!Number.isFinite(value)) return 'null';
  if (value === 0) {
    // Either a zero, perhaps with a sign, or too small for a double.
    return Object.is(value, -0) || /^[^e]*[1-9]/i.test(literal) ? '0' : undefined;
  }
  if (literal.length <= SAFE_DIGITS && !/e/i.test(literal)) return undefined;
  const written = String(value);
  return decimal(literal) === decimal(written) ? undefined : written;
}

/** A canonical form of a number other than 0, equal for equal numbers: digits without outer zeros, and the exponent. */
function decimal(literal: string): string {
  const [, sign = '', whole = '', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/i.exec(literal) ?? [];
  const digits = whole + fraction;
  let from = 0;
  while (digits.charCodeAt(from) === ZERO) from++;
  let to = digits.length;
  while (digits.charCodeAt(to - 1) === ZERO) to--;
  return `${sign}${digits.slice(from, to)}e${Number(exponent) + whole.length - from}`;
}
