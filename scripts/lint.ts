import { execa } from 'execa'

/** One check of the sources; its output is shown only where it fails. */
interface Check {
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
}

async function nativeSources(): Promise<string[]> {
  const { stdout } = await execa('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.h', '*.cc'])
  return stdout.split('\n').filter(line => line !== '')
}

async function checks(): Promise<Check[]> {
  const sources = await nativeSources()
  return [
    { name: 'format and lint', command: 'biome', args: ['ci', '--error-on-warnings', '.'] },
    { name: 'types', command: 'tsc', args: ['-p', '.'] },
    { name: 'layers', command: 'depcruise', args: ['src'] },
    { name: 'native format', command: 'clang-format', args: ['--dry-run', '--Werror', ...sources] },
  ]
}

/** Runs every check; returns how many passed and failed. */
export async function lint(): Promise<{ passed: number; failed: number }> {
  let passed = 0
  let failed = 0
  for (const { name, command, args } of await checks()) {
    const { failed: isFailed, all } = await execa(command, args, { all: true, reject: false, preferLocal: true })
    console.log(`${isFailed ? 'not ok' : 'ok'} lint: ${name}`)
    if (isFailed) console.log(all)
    if (isFailed) failed += 1
    else passed += 1
  }
  return { passed, failed }
}

if (import.meta.main) {
  const { failed } = await lint()
  process.exitCode = failed === 0 ? 0 : 1
}
