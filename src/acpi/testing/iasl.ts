import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Recompiled {
  /** The source that the disassembler makes of the table. */
  readonly source: string
  /** What the compiler says of that source, a line each. */
  readonly errors: readonly string[]
  readonly warnings: readonly string[]
  /** The table that comes out again. */
  readonly bytes: Uint8Array
}

/** Takes a table apart and puts it together again with ACPICA's tools. Throws where they are missing or give up. */
export function recompile(signature: string, table: Uint8Array): Recompiled {
  const directory = mkdtempSync(join(tmpdir(), 'tsvmm-acpi-'))
  const path = (ending: string) => join(directory, `${signature}.${ending}`)
  try {
    writeFileSync(path('dat'), table)
    run(['-d', path('dat')])
    const source = readFileSync(path('dsl'), 'utf8')
    rmSync(path('dat'))
    // -oa: as written, without optimizing, so that the bytes can be compared; -vi: one line a message.
    const { stdout, stderr } = spawnSync('iasl', ['-oa', '-vi', '-p', join(directory, 'again'), path('dsl')], {
      encoding: 'utf8',
    })
    const messages = `${stdout}\n${stderr}`.split('\n').filter(line => /\) : \w+ +\d{4} - /.test(line))
    const errors = messages.filter(line => line.includes(') : error '))
    const bytes = errors.length > 0 ? new Uint8Array() : readFileSync(join(directory, 'again.aml'))
    return { source, errors, warnings: messages.filter(line => !errors.includes(line)), bytes }
  } finally {
    rmSync(directory, { recursive: true })
  }
}

function run(args: readonly string[]): void {
  try {
    execFileSync('iasl', args, { stdio: 'pipe' })
  } catch (cause) {
    throw new Error(`iasl ${args.join(' ')} failed; it comes with the package acpica-tools`, { cause })
  }
}
