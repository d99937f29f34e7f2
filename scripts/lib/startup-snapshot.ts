import { chmodSync, copyFileSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import { execa } from 'execa'
import { buildElf, word } from '../../src/boot/testing/elf-builder.ts'
import { builtinModules } from './builtin-modules.ts'

/** What the launcher needs beside itself (native/launcher/main.cc). */
export interface StartupSnapshotOptions {
  readonly root: string
  readonly version: string
  /** The Node that the snapshot is made by, which is the only one that can start from it. */
  readonly node: string
  /** Where all of it goes. */
  readonly dist: string
  /** Where the launcher finds that Node: a path, absolute or seen from `dist`. */
  readonly nodeAtStart: string
}

/** Makes `dist`/tsvmm: the launcher, the snapshot that it starts from, and which Node that is of. */
export async function makeStartupSnapshot(options: StartupSnapshotOptions): Promise<void> {
  const { root, version, node, dist, nodeAtStart } = options
  await build({
    absWorkingDir: root,
    // One script without imports: all that a snapshot can be made of.
    entryPoints: { startup: 'src/cli/startup.ts' },
    outdir: dist,
    outExtension: { '.js': '.cjs' },
    bundle: true,
    format: 'cjs',
    platform: 'node',
    target: 'node24',
    // The source is a part of the snapshot. Names stay: errors show them.
    minifySyntax: true,
    minifyWhitespace: true,
    define: { TSVMM_VERSION: JSON.stringify(version), 'import.meta.dirname': '""' },
    plugins: [builtinModules],
    logLevel: 'warning',
  })
  const blob = `${dist}/startup.blob`
  using stage = rehearsalStage()
  await takeSnapshot({ node, script: `${dist}/startup.cjs`, args: stage.args, blob })
  rmSync(`${dist}/startup.cjs`)
  writeFileSync(`${dist}/startup.node`, `${nodeAtStart}\n${statSync(node).size}\n`)
  copyFileSync(`${root}build/tsvmm`, `${dist}/tsvmm.new`)
  chmodSync(`${dist}/tsvmm.new`, 0o755)
  renameSync(`${dist}/tsvmm.new`, `${dist}/tsvmm`)
}

/** What is put into `blob`: the heap that `node` has after running `script`, a CommonJS file, with `args`. */
interface SnapshotOptions {
  readonly node: string
  readonly script: string
  readonly args: readonly string[]
  readonly blob: string
}

export async function takeSnapshot({ node, script, args, blob }: SnapshotOptions): Promise<void> {
  const config = `${blob}.config`
  // Node keeps a snapshot's code cache in memory for good: half of its size, for what the rehearsal has run anyway.
  writeFileSync(config, JSON.stringify({ builder: script, withoutCodeCache: true }))
  // V8 lets a function that has run keep its entry into the interpreter where a snapshot drops its bytecode: should another
  // closure of the same source be the first to run again, it enters without feedback cells, and crashes. What
  // is flushed beforehand is reset as a whole.
  const flags = ['--no-warnings', '--stress-flush-code', '--snapshot-blob', `${blob}.new`]
  const made = await execa(node, [...flags, '--build-snapshot-config', config, '--', ...args], { reject: false })
  rmSync(config)
  // What Node prints of an error begins with the line that it was thrown in: here that is half of the program.
  if (made.failed) throw new Error(`the startup snapshot could not be made:\n${made.stderr.slice(-2000)}`)
  // Under its own name when it is whole: somebody may be starting from it.
  renameSync(`${blob}.new`, blob)
}

/** A place for files, and a machine for the rehearsal of a boot (src/vmm/rehearsal.native.ts): the flags that most machines have. */
interface RehearsalStage extends Disposable {
  readonly args: readonly string[]
  file(name: string, contents: Uint8Array | string): string
}

function rehearsalStage(): RehearsalStage {
  const folder = mkdtempSync(join(tmpdir(), 'tsvmm-rehearsal-'))
  const file: RehearsalStage['file'] = (name, contents) => {
    const path = join(folder, name)
    writeFileSync(path, contents)
    return path
  }
  const code = Uint8Array.of(0xf4)
  const elf = buildElf({ segments: [{ address: 0x100_0000, contents: code }], notes: [{ contents: word(0x100_0000) }] })
  return {
    file,
    args: [
      ...['--kernel', file('kernel', elf), '--initramfs', file('initramfs', code), '--cmdline', 'console=ttyS0'],
      ...['--cpus', 'boot=2', '--memory', 'size=64M', '--serial', 'null', '--console', 'off'],
      ...['--disk', `path=${file('disk', new Uint8Array(4096))}`, '--net', 'tap=tap0,mac=52:54:00:12:34:56'],
    ],
    [Symbol.dispose]: () => rmSync(folder, { recursive: true }),
  }
}
