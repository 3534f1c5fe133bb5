import js from '@eslint/js';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

/**
 * Which rooms of src/ a room may import from, besides itself. A room is a folder of src/, or a layer of src/shared; an entry
 * with a file name opens that file alone.
 */
export const ARROWS = {
  'shared/contract': [],
  'shared/onnx': [],
  'shared/bulk': ['shared/contract'],
  'shared/runtime': ['shared/contract'],
  'shared/redis': ['shared/contract', 'shared/runtime'],
  'shared/blobs': ['shared/contract', 'shared/runtime'],
  'shared/store': ['shared/contract', 'shared/runtime', 'shared/redis', 'shared/blobs', 'shared/bulk'],
  api: ['shared'],
  worker: ['shared'],
  launcher: ['shared/runtime', 'shared/redis', 'shared/contract'],
  healthcheck: ['shared/runtime'],
  client: [
    'shared/contract/states',
    'shared/contract/quoting',
    'shared/bulk/byte-stream',
    'shared/bulk/file-formats',
    'shared/bulk/record-scanner',
    'shared/bulk/take-header',
    'shared/bulk/gunzip',
    'shared/bulk/unzstd',
  ],
  cli: [
    'client',
    'shared/blobs/multipart-upload',
    'shared/blobs/s3-errors',
    'shared/bulk',
    'shared/contract',
    'shared/onnx',
    'shared/runtime',
  ],
};
export const rooms = Object.keys(ARROWS);

/** Packages and modules of Node that a layer does without: what crosses a boundary can be used on both of its sides. */
const BANNED = { 'shared/contract': ['ioredis', 'bullmq', 'node:*'] };

/** Reports imports against the arrows. Only relative imports can cross rooms here: there are no path aliases. */
const arrows = rooms.map((room) => ({
  files: [`src/${room}/**/*.ts`],
  rules: {
    'no-restricted-imports': ['error', { patterns: [...outside(room), ...banned(room)] }],
  },
}));

/** Imports of every other room but those that the arrows of this one lead to. */
function outside(room) {
  const from = room.startsWith('shared/') ? 'shared/' : '';
  return rooms
    .filter((other) => other !== room)
    .map((other) => {
      // From one layer of src/shared to another, a specifier does not name src/shared.
      const target = from && other.startsWith(from) ? other.slice(from.length) : other;
      const open = ARROWS[room]
        .filter(
          (entry) => entry === other || `${other}/`.startsWith(`${entry}/`) || entry.startsWith(`${other}/`),
        )
        .map((entry) => (entry.startsWith(`${other}/`) ? `${entry.slice(other.length + 1)}\\.ts$` : ''));
      if (open.includes('')) return undefined;
      const except = open.length > 0 ? `(?!${open.join('|')})` : '';
      return {
        regex: `^(\\.\\./)+${target}/${except}`,
        message: `src/${room} must not import this from src/${other}: see ARROWS in eslint.config.js.`,
      };
    })
    .filter((pattern) => pattern !== undefined);
}

function banned(room) {
  const names = BANNED[room];
  return names ? [{ group: names, message: `src/${room} imports none of ${names.join(', ')}.` }] : [];
}

export default defineConfig(
  { ignores: ['node_modules', '.amulet', 'coverage', 'dist', 'models/prepare/.venv'] },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowNullish: true, allowBoolean: true },
      ],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/no-unnecessary-type-parameters': 'off',
      'no-restricted-properties': [
        'error',
        {
          object: 'process',
          property: 'env',
          message: 'Only src/shared/runtime/environment.ts reads the environment.',
        },
      ],
      '@typescript-eslint/no-empty-function': ['error', { allow: ['arrowFunctions'] }],
      '@typescript-eslint/non-nullable-type-assertion-style': 'off',
      'prefer-const': ['error', { ignoreReadBeforeAssign: true }],
      'no-console': 'error',
    },
  },
  ...arrows,
  {
    files: ['src/worker/inference/batcher.ts'],
    rules: { 'no-restricted-syntax': ['error', 'ImportDeclaration'] },
  },
  {
    files: [
      'src/shared/runtime/environment.ts',
      'test/**',
      'tools/**',
      'bench/**',
      'examples/**',
      'vitest.config.ts',
    ],
    rules: { 'no-restricted-properties': 'off' },
  },
  {
    files: ['test/**', 'tools/**', 'bench/**', 'examples/**'],
    rules: {
      'no-console': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off',
      // expect.any() is an any.
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-misused-spread': 'off',
    },
  },
);
