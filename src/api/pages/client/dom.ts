/** Creates and fills elements. Text is set as text and never parsed as HTML. */

/** @returns an element of the markup @throws for an id or type that the markup lacks: a bug */
export function element<T extends HTMLElement>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (found instanceof type) return found;
  throw new Error(`the page has no ${type.name} #${id}`);
}

interface Made {
  class?: string;
  text?: string;
  attributes?: Record<string, string>;
}

export function create<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  { class: className, text, attributes = {} }: Made = {},
  ...children: Node[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  if (className !== undefined) made.className = className;
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Shows commands, one element each: a long one wraps, and is still copied as one line. */
export function showCommands(where: HTMLElement, commands: readonly string[]): void {
  const text = commands.join('\n');
  if (where.textContent === text) return;
  const lines = commands.map((command, i) => (i === commands.length - 1 ? command : `${command}\n`));
  where.replaceChildren(...lines.map((line) => create('span', { class: 'command', text: line })));
}

/** Sets a text only if it differs, because screen readers read every change of a live region. */
export function say(where: HTMLElement, text: string): void {
  if (where.textContent !== text) where.textContent = text;
}
