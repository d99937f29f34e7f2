import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { cacheDirectory, contentKey } from './cache.ts'

const database = 'build/tidy'

/**
 * Checks the addon's sources with clang-tidy, those that changed since they passed. Returns what it found, '' for nothing.
 * A header counts as part of every source. Needs build/release to be configured.
 */
export async function clangTidy(sources: readonly string[]): Promise<string> {
  const { stdout } = await execa('ninja', ['-C', 'build/release', '-t', 'compdb'])
  mkdirSync(database, { recursive: true })
  writeFileSync(`${database}/compile_commands.json`, stdout.slice(stdout.indexOf('[')))
  const version = await execa('clang-tidy', ['--version'])
  const headers = sources.filter(path => path.endsWith('.h'))
  const shared = [version.stdout, ...contents(['.clang-tidy', ...headers])]
  const waiting = sources.filter(path => path.endsWith('.cc') && !path.endsWith('_test.cc'))
  const findings: string[] = []
  const worker = async (): Promise<void> => {
    for (let source = waiting.shift(); source !== undefined; source = waiting.shift()) {
      findings.push(await checkOne(source, contentKey([...shared, ...contents([source])])))
    }
  }
  await Promise.all(Array.from({ length: availableParallelism() }, worker))
  return findings.filter(text => text !== '').join('\n')
}

async function checkOne(source: string, key: string): Promise<string> {
  const stamps = join(cacheDirectory(), 'clang-tidy')
  if (existsSync(join(stamps, key))) return ''
  const { failed, stdout, stderr } = await execa('clang-tidy', ['-p', database, '--quiet', source], { reject: false })
  if (failed) return stdout === '' ? stderr : stdout
  mkdirSync(stamps, { recursive: true })
  writeFileSync(join(stamps, key), '')
  return ''
}

function contents(paths: readonly string[]): (string | Uint8Array)[] {
  return paths.flatMap(path => [path, readFileSync(path)])
}
