/** The settings as documentation, made from their declarations. */
import { SETTINGS } from '../../src/shared/runtime/settings/settings.ts';

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

/** Set in docker-compose.yml by hand, by the image, or of no concern to a container. */
export const NOT_LISTED = new Set(
  `REDIS_URL AUTH PUBLIC_URL_DEFAULT HOST PORT METRICS_HOST METRICS_PORT WORKER_HOST WORKER_PORT WEBHOOK_HEALTH_HOST
   WEBHOOK_HEALTH_PORT DATA_DIR WORKERS LOG_MAX_BYTES LOG_MAX_FILES PRIVATE_REDIS_MAX_BYTES`.split(/\s+/),
);

/** docker-compose.yml with its list of the settings that are passed on brought up to date. */
export function withComposeSettings(file: string): string {
  const [before, after] = [/^ *# settings:start\n/m, /^ *# settings:end\n/m].map((mark) => mark.exec(file));
  if (!before || !after) throw new Error('docker-compose.yml has lost its markers');
  const names = Object.keys(SETTINGS).filter((name) => !NOT_LISTED.has(name));
  const list = names.map((name) => `      ${name}:\n`).join('');
  return file.slice(0, before.index) + before[0] + list + file.slice(after.index);
}

const withoutMarkup = (doc: string): string =>
  doc.replaceAll('`', '').replaceAll(/\[([^\]]+)\]\(([^)]+)\)/g, '$1 ($2)');
