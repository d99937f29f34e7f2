import { execa } from 'execa'
import { clangTidy } from './lib/clang-tidy.ts'
import { checkDocuments } from './lib/docs/checks.ts'

/** One check of the sources; returns what it found, '' for nothing. */
interface Check {
  readonly name: string
  run(): Promise<string>
}

async function output(command: string, args: readonly string[]): Promise<string> {
  const { failed, all, message } = await execa(command, args, { all: true, reject: false, preferLocal: true })
  return failed ? all || (message ?? command) : ''
}

async function nativeSources(): Promise<string[]> {
  const { stdout } = await execa('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.h', '*.cc'])
  return stdout.split('\n').filter(line => line !== '')
}

const checks: readonly Check[] = [
  { name: 'format and lint', run: () => output('biome', ['ci', '--colors=off', '--error-on-warnings', '.']) },
  { name: 'types', run: () => output('tsc', ['-p', '.']) },
  { name: 'layers', run: () => output('depcruise', ['src']) },
  {
    name: 'documents',
    run: async () => checkDocuments(new URL('..', import.meta.url).pathname).join('\n'),
  },
  {
    name: 'native format',
    run: async () => output('clang-format', ['--dry-run', '--Werror', ...(await nativeSources())]),
  },
  { name: 'native lint', run: async () => clangTidy(await nativeSources()) },
]

/** Runs every check; returns how many passed and failed. What a check finds is shown. */
export async function lint(): Promise<{ passed: number; failed: number }> {
  let passed = 0
  let failed = 0
  for (const { name, run } of checks) {
    const found = await run()
    console.log(`${found === '' ? 'ok' : 'not ok'} lint: ${name}`)
    if (found === '') passed += 1
    else {
      failed += 1
      console.log(found)
    }
  }
  return { passed, failed }
}

if (import.meta.main) {
  const { failed } = await lint()
  process.exitCode = failed === 0 ? 0 : 1
}
