/** The settings as documentation, made from their declarations. */
import { SETTINGS } from '../../src/shared/config.ts';

const START = '<!-- settings:start -->';
const END = '<!-- settings:end -->';

/** The Markdown table of README.md. */
export function settingsTable(): string {
  const rows = Object.entries(SETTINGS).map(
    ([name, { default: value, doc }]) =>
      `| \`${name}\` | ${value === '' ? '' : `\`${value}\``} | ${doc.replaceAll('|', '\\|')} |`,
  );
  return ['| variable | default | meaning |', '|---|---|---|', ...rows].join('\n');
}

/** README.md with its settings table brought up to date. */
export function withSettingsTable(readme: string): string {
  const start = readme.indexOf(START) + START.length;
  const end = readme.indexOf(END);
  if (start < START.length || end === -1) throw new Error('README.md has lost its settings markers');
  return `${readme.slice(0, start)}\n\n${settingsTable()}\n\n${readme.slice(end)}`;
}

/** The content of .env.example. */
export function envExample(): string {
  const entries = Object.entries(SETTINGS).map(
    ([name, { default: value, doc }]) => `# ${doc.replaceAll('`', '')}\n# ${name}=${value}`,
  );
  return `# Copy to .env and uncomment what you want to change.\n\n${entries.join('\n\n')}\n`;
}
