/** The settings as documentation, made from their declarations. */
import { SETTINGS } from '../../src/shared/config.ts';

const START = '<!-- settings:start -->';
const END = '<!-- settings:end -->';

/** The Markdown table of docs/settings.md. */
export function settingsTable(): string {
  const rows = Object.entries(SETTINGS).map(
    ([name, { default: value, doc }]) =>
      `| \`${name}\` | ${value === '' ? '' : `\`${value}\``} | ${doc.replaceAll('|', '\\|').replaceAll('](docs/', '](')} |`,
  );
  return ['| variable | default | meaning |', '|---|---|---|', ...rows].join('\n');
}

/** docs/settings.md with its table brought up to date. */
export function withSettingsTable(page: string): string {
  const start = page.indexOf(START) + START.length;
  const end = page.indexOf(END);
  if (start < START.length || end === -1) throw new Error('docs/settings.md has lost its markers');
  return `${page.slice(0, start)}\n\n${settingsTable()}\n\n${page.slice(end)}`;
}

/** The content of .env.example. */
export function envExample(): string {
  const entries = Object.entries(SETTINGS).map(
    ([name, { default: value, doc }]) => `# ${withoutMarkup(doc)}\n# ${name}=${value}`,
  );
  return `# Copy to .env and uncomment what you want to change.\n\n${entries.join('\n\n')}\n`;
}

const withoutMarkup = (doc: string): string =>
  doc.replaceAll('`', '').replaceAll(/\[([^\]]+)\]\(([^)]+)\)/g, '$1 ($2)');
