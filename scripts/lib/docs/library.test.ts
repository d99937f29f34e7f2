import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import ts from 'typescript'
import { readPages } from './checks.ts'

const root = new URL('../../..', import.meta.url).pathname
const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), path => readFileSync(path, 'utf8'))
const { options } = ts.parseJsonConfigFileContent({ ...config, include: [], files: ['src/index.ts'] }, ts.sys, root)

/** What pieces take for granted unless they have it themselves. */
const assumed = [
  { unless: /import .*\bVm\b/, line: "import { Vm } from 'tsvmm'" },
  { unless: /\b(using|const) vm\b/, line: "declare const vm: import('tsvmm').Vm" },
  { unless: /\bconst config\b/, line: "declare const config: import('tsvmm').VmConfigInput" },
]

/** Each piece of TypeScript in the documents as a file. */
const pieces = new Map(
  readPages(root).flatMap(({ path, fences }) =>
    fences
      .filter(({ language }) => language === 'ts')
      .map(({ text, line }) => [join(root, `${path}:${line}.ts`), withAssumed(text)] as const),
  ),
)

function withAssumed(text: string): string {
  const lines = assumed.filter(({ unless }) => !unless.test(text)).map(({ line }) => line)
  return [...lines, text, 'export {}'].join('\n')
}

const host = ts.createCompilerHost(options)
const { fileExists, readFile } = host
host.fileExists = path => pieces.has(path) || fileExists(path)
host.readFile = path => pieces.get(path) ?? readFile(path)
const program = ts.createProgram([join(root, 'src/index.ts'), ...pieces.keys()], options, host)
const checker = program.getTypeChecker()

test('TypeScript in the documents compiles', t => {
  t.true(pieces.size > 5)
  for (const path of pieces.keys()) {
    const diagnostics = program.getSemanticDiagnostics(program.getSourceFile(path))
    // Pieces that leave a value unused are about how it is come by.
    const wrong = diagnostics.filter(({ code }) => code !== unusedValue)
    t.deepEqual(
      wrong.map(({ messageText }) => `${path}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`),
      [],
    )
  }
})

const unusedValue = 6133

test('the reference of the library tells of all that it exports, of a machine and of events', t => {
  const page = readFileSync(join(root, 'docs/reference/library.md'), 'utf8')
  const index = program.getSourceFile(join(root, 'src/index.ts'))
  const module = index && checker.getSymbolAtLocation(index)
  const exported = module === undefined ? [] : checker.getExportsOfModule(module)
  t.true(exported.length > 20)
  for (const { name } of exported) t.regex(page, new RegExp(`\`${name}\\b`), name)
  for (const name of membersOf(exported, 'Vm')) t.regex(page, new RegExp(`\`vm\\.${name}\\b`), name)
  for (const name of membersOf(exported, 'VmEvents')) t.true(page.includes(`\`${name}\``), name)
})

/** Those that the type itself declares and that are everybody's. */
function membersOf(exported: readonly ts.Symbol[], typeName: string): string[] {
  const symbol = exported.find(({ name }) => name === typeName)
  if (symbol === undefined) return []
  const declared = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
  return [...(declared.members?.values() ?? [])]
    .filter(member => !member.getJsDocTags(checker).some(({ name }) => name === 'internal'))
    .map(({ name }) => name)
    .filter(name => /^(?!__)[\w-]+$/.test(name))
}
