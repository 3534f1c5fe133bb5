/** Numbers of JSON that no double holds: 1546130668394913822 becomes 1546130668394913800, 1e400 becomes Infinity and then null. */

/** Doubles hold every decimal of so many digits. */
const SAFE_DIGITS = 15;
const ZERO = 0x30;

/**
 * What a JSON number becomes when it is read as a double and written again, if that is another number: 1.0 and 1e2 come back as
 * 1 and 100, which are the same; 0.12345678901234567890 and -0 do not come back.
 * @param literal of a JSON text
 * @returns the other number (`null` beyond 1.8e308), or undefined when none is lost
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

/** The digits of a number other than 0, without zeros at their ends, and where its point is: the same for equal numbers. */
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
