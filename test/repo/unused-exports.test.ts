/** Every export of src is imported by another file, so that code which nothing uses is noticed by the compiler and removed. */
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { expect, test } from 'vitest';

const ROOT = path.resolve(import.meta.dirname, '../..');
/** The npm package: its users import from these. */
const ENTRIES = new Set(['src/client/index.ts', 'src/client/node.ts']);
const ALL = '*';

const files = globSync('{src,test,tools,bench,deploy,packaging,examples}/**/*.{ts,js}', { cwd: ROOT });

interface Module {
  exports: Map<string, number>;
  /** Names that it imports, by file. */
  imports: [file: string, name: string][];
}

function read(file: string): Module {
  const text = readFileSync(path.join(ROOT, file), 'utf8');
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest);
  const { exports, imports }: Module = { exports: new Map(), imports: [] };
  const resolve = (specifier: string) => path.join(path.dirname(file), specifier);
  const lineOf = (node: ts.Node) => source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1;

  for (const statement of source.statements) {
    if (ts.isImportDeclaration(statement) || ts.isExportDeclaration(statement)) {
      const { moduleSpecifier: specifier } = statement;
      const from = specifier && ts.isStringLiteral(specifier) ? resolve(specifier.text) : undefined;
      const clause = ts.isImportDeclaration(statement)
        ? statement.importClause?.namedBindings
        : statement.exportClause;
      if (ts.isImportDeclaration(statement) && statement.importClause?.name) imports.push([from!, 'default']);
      if (clause && (ts.isNamedImports(clause) || ts.isNamedExports(clause))) {
        for (const element of clause.elements) {
          if (from !== undefined) imports.push([from, (element.propertyName ?? element.name).text]);
          if (ts.isExportSpecifier(element)) exports.set(element.name.text, lineOf(element));
        }
      } else if (from !== undefined && (clause || ts.isExportDeclaration(statement)))
        imports.push([from, ALL]);
    } else if (ts.isExportAssignment(statement)) exports.set('default', lineOf(statement));
    else if (ts.canHaveModifiers(statement)) {
      const modifiers = ts.getModifiers(statement)?.map(({ kind }) => kind) ?? [];
      if (!modifiers.includes(ts.SyntaxKind.ExportKeyword)) continue;
      // A type stands in the signature of what the file is imported for.
      const isType = ts.isInterfaceDeclaration(statement) || ts.isTypeAliasDeclaration(statement);
      for (const name of declared(statement)) {
        const mentions = text.match(new RegExp(`\\b${name}\\b`, 'g')) ?? [];
        if (!isType || mentions.length === 1) exports.set(name, lineOf(statement));
      }
    }
  }
  // `await import('./file.ts')`, with the names that are taken from it where they stand before it.
  for (const [, names, specifier = ''] of text.matchAll(
    /(?:\{([^{}]*)\} = await )?import\(\s*['"](\.[^'"]+)['"]\s*\)/g,
  )) {
    const taken = names?.split(',').map((name) => name.split(':')[0]!.trim()) ?? [ALL];
    for (const name of taken) imports.push([resolve(specifier), name]);
  }
  return { exports, imports };
}

/** Names that a statement declares. */
function declared(statement: ts.Statement): string[] {
  if (ts.isVariableStatement(statement))
    return statement.declarationList.declarations.flatMap(({ name }) => namesIn(name));
  const { name } = statement as ts.DeclarationStatement;
  return name && ts.isIdentifier(name) ? [name.text] : [];
}

const namesIn = (name: ts.BindingName): string[] =>
  ts.isIdentifier(name)
    ? [name.text]
    : name.elements.flatMap((element) => (ts.isOmittedExpression(element) ? [] : namesIn(element.name)));

test('every export is imported somewhere', () => {
  const modules = new Map(files.map((file) => [file, read(file)]));
  const imported = new Map<string, Set<string>>();
  for (const { imports } of modules.values()) {
    for (const [file, name] of imports) imported.set(file, (imported.get(file) ?? new Set()).add(name));
  }
  const unused = [...modules].flatMap(([file, { exports }]) => {
    const names = imported.get(file);
    if (!file.startsWith('src/') || ENTRIES.has(file) || names?.has(ALL)) return [];
    return [...exports]
      .filter(([name]) => !names?.has(name))
      .map(([name, line]) => `${file}:${line} ${name}`);
  });
  expect(unused).toEqual([]);
});
