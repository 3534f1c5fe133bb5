import js from '@eslint/js';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

/** Which folders of src/ a folder may import from, besides itself. Everything may use shared; shared uses nothing. */
const ARROWS = {
  shared: [],
  api: ['shared'],
  worker: ['shared'],
  launcher: ['shared'],
  healthcheck: ['shared'],
  client: ['shared'],
  cli: ['shared', 'client'],
};
const folders = Object.keys(ARROWS);

/** Reports imports against the arrows. Only relative imports can cross folders here: there are no path aliases. */
const arrows = folders.map((folder) => ({
  files: [`src/${folder}/**/*.ts`],
  rules: {
    'no-restricted-imports': [
      'error',
      {
        patterns: folders
          .filter((other) => other !== folder && !ARROWS[folder].includes(other))
          .map((other) => ({
            regex: `^(\\.\\./)+${other}/`,
            message: `src/${folder} must not import from src/${other}.`,
          })),
      },
    ],
  },
}));

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
    files: ['src/shared/runtime/environment.ts', 'test/**', 'bench/**', 'examples/**', 'vitest.config.ts'],
    rules: { 'no-restricted-properties': 'off' },
  },
  {
    files: ['test/**', 'bench/**', 'examples/**'],
    rules: {
      'no-console': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off',
      // expect.any() is an any.
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-misused-spread': 'off',
    },
  },
);
