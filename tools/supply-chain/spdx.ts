/** SPDX licence expressions: `MIT`, `(MIT OR CC0-1.0)`, `Apache-2.0 AND BSD-3-Clause`, `Apache-2.0 WITH LLVM-exception`. */

/** Licence of a package, or `undefined` for text that is no expression. */
type Parsed = { id: string } | { operator: 'AND' | 'OR'; sides: [Parsed, Parsed] };

const TOKEN = /\s*([()]|[A-Za-z0-9.+:-]+)/y;

/**
 * Whether a package may be used under `expression` by somebody who accepts only the licences `allowed`: of an OR one side is
 * enough, of an AND both are needed. An exception (WITH) only ever adds permissions. What is no expression permits nothing.
 */
export function permits(expression: string, allowed: ReadonlySet<string>): boolean {
  const parsed = parse(expression);
  return parsed !== undefined && isPermitted(parsed, allowed);
}

function isPermitted(parsed: Parsed, allowed: ReadonlySet<string>): boolean {
  if ('id' in parsed) return allowed.has(parsed.id);
  const [left, right] = parsed.sides.map((side) => isPermitted(side, allowed));
  return parsed.operator === 'AND' ? left === true && right === true : left === true || right === true;
}

/** By recursive descent; AND binds closer than OR, as the specification has it. */
function parse(expression: string): Parsed | undefined {
  const tokens = tokenize(expression);
  if (!tokens) return undefined;
  let at = 0;
  const take = (token: string): boolean => {
    if (tokens[at] !== token) return false;
    at++;
    return true;
  };

  const joined = (operator: 'AND' | 'OR', side: () => Parsed | undefined): Parsed | undefined => {
    let left = side();
    while (left && take(operator)) {
      const right = side();
      left = right && { operator, sides: [left, right] };
    }
    return left;
  };
  const or = (): Parsed | undefined => joined('OR', and);
  const and = (): Parsed | undefined => joined('AND', single);
  const single = (): Parsed | undefined => {
    if (take('(')) {
      const inner = or();
      return take(')') ? inner : undefined;
    }
    const id = name();
    if (id === undefined) return undefined;
    if (take('WITH') && name() === undefined) return undefined;
    return { id };
  };
  const name = (): string | undefined => {
    const token = tokens[at];
    if (token === undefined || /^([()]|AND|OR|WITH)$/.test(token)) return undefined;
    at++;
    return token;
  };

  const parsed = or();
  return at === tokens.length ? parsed : undefined;
}

function tokenize(expression: string): string[] | undefined {
  const text = expression.trimEnd();
  const tokens: string[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const match = TOKEN.exec(text);
    if (!match) return undefined;
    tokens.push(match[1] as string);
  }
  return tokens;
}
