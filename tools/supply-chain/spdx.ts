/** SPDX licence expressions: `MIT`, `(MIT OR CC0-1.0)`, `Apache-2.0 AND BSD-3-Clause`, `Apache-2.0 WITH LLVM-exception`. */

const TOKEN = /\s*([()]|[A-Za-z0-9.+:-]+)/y;

/**
 * Whether a package may be used under `expression` by somebody who accepts only the licences `allowed`: of an OR one side is
 * enough, of an AND both are needed. An exception (WITH) only ever adds permissions. What is no expression permits nothing.
 *
 * Evaluated while it is parsed, by recursive descent; AND binds closer than OR, as the specification has it.
 */
export function permits(expression: string, allowed: ReadonlySet<string>): boolean {
  const tokens = tokenize(expression);
  if (!tokens) return false;
  let at = 0;
  const take = (token: string): boolean => {
    if (tokens[at] !== token) return false;
    at++;
    return true;
  };

  /** Each part of the expression permits, does not permit, or is malformed (undefined). */
  type Part = () => boolean | undefined;
  const joined = (operator: 'AND' | 'OR', side: Part): boolean | undefined => {
    let left = side();
    while (left !== undefined && take(operator)) {
      const right = side();
      if (right === undefined) return undefined;
      left = operator === 'AND' ? left && right : left || right;
    }
    return left;
  };
  const or: Part = () => joined('OR', and);
  const and: Part = () => joined('AND', single);
  const single: Part = () => {
    if (take('(')) {
      const inner = or();
      return take(')') ? inner : undefined;
    }
    const id = name();
    if (id === undefined || (take('WITH') && name() === undefined)) return undefined;
    return allowed.has(id);
  };
  const name = (): string | undefined => {
    const token = tokens[at];
    if (token === undefined || /^([()]|AND|OR|WITH)$/.test(token)) return undefined;
    at++;
    return token;
  };

  const permitted = or();
  return at === tokens.length && permitted === true;
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
