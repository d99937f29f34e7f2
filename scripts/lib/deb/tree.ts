import { chmodSync, cpSync, globSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { execa } from 'execa'
import { makeStartupSnapshot } from '../startup-snapshot.ts'
import { changelog, control, copyright, lintianOverrides, type PackageDescription, postinst } from './metadata.ts'
import { nodeLicense } from './node-license.ts'

export interface TreeOptions {
  /** The checkout, whose bundle and addon are made (scripts/prebuild.ts). */
  readonly root: string
  readonly tree: string
  readonly version: string
  readonly architecture: string
  readonly date: Date
}

/** A folder that becomes the package: each path in it is one on the host. */
class Tree {
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
  }

  path(path: string): string {
    return join(this.#folder, path)
  }

  write(path: string, contents: string | Uint8Array, mode = 0o644): void {
    mkdirSync(dirname(this.path(path)), { recursive: true })
    writeFileSync(this.path(path), contents)
    chmodSync(this.path(path), mode)
  }

  copy(from: string, path: string, mode = 0o644): void {
    this.write(path, readFileSync(from), mode)
  }

  /** As gzip -9n, which is what Debian wants of documents. */
  compress(path: string, contents: string | Uint8Array): void {
    this.write(`${path}.gz`, gzipSync(contents, { level: 9 }))
  }

  link(target: string, path: string): void {
    mkdirSync(dirname(this.path(path)), { recursive: true })
    symlinkSync(target, this.path(path))
  }

  sizeBytes(): number {
    return globSync('**/*', { cwd: this.#folder }).reduce((sum, path) => sum + statSync(this.path(path)).size, 0)
  }
}

const library = 'usr/lib/tsvmm'
const documents = 'usr/share/doc/tsvmm'

/** Puts all that the package installs into `tree`, and what describes it into `tree`/DEBIAN. */
export async function stageTree({ root, tree: folder, ...description }: TreeOptions): Promise<void> {
  const tree = new Tree(folder)
  stageProgram(root, tree)
  await stageNode(root, tree, description.version)
  stageDocuments(root, tree, description)
  await stageCompletions(tree)
  stageService(root, tree)
  const described = { ...description, installedBytes: tree.sizeBytes() }
  tree.write('DEBIAN/control', control(described))
  tree.write('DEBIAN/postinst', postinst, 0o755)
  for (const path of globSync('**/', { cwd: folder })) chmodSync(tree.path(path), 0o755)
}

function stageProgram(root: string, tree: Tree): void {
  const files = globSync(['dist/*.js', 'dist/NOTICES', 'prebuilds/**/*.node', 'prebuilds/**/NOTICES'], { cwd: root })
  for (const file of files) tree.copy(join(root, file), join(library, file))
  // The launcher is what starts it, on the Node beside it.
  const script = readFileSync(join(root, 'dist/tsvmm.js'), 'utf8')
  tree.write(join(library, 'dist/tsvmm.js'), script.replace(/^#!.*\n/, ''))
  // The files of the bundle are modules.
  tree.write(join(library, 'package.json'), `${JSON.stringify({ name: 'tsvmm', private: true, type: 'module' })}\n`)
  tree.link('../lib/tsvmm/dist/tsvmm', 'usr/bin/tsvmm')
}

/** A Node of its own, its licence, and the snapshot that is of it. */
async function stageNode(root: string, tree: Tree, version: string): Promise<void> {
  const node = tree.path(join(library, 'node'))
  cpSync(process.execPath, node, { dereference: true })
  chmodSync(node, 0o755)
  await strip(node)
  tree.compress(join(documents, 'NODE-LICENSE'), await nodeLicense())
  const dist = tree.path(join(library, 'dist'))
  await makeStartupSnapshot({ root, version, node, dist, nodeAtStart: '../node' })
  await strip(join(dist, 'tsvmm'), ...globSync(`${tree.path(library)}/prebuilds/*/tsvmm.node`))
}

/** Takes away what only a debugger wants. */
async function strip(...files: readonly string[]): Promise<void> {
  await execa('strip', ['--strip-unneeded', ...files])
}

function stageDocuments(root: string, tree: Tree, description: Omit<PackageDescription, 'installedBytes'>): void {
  tree.write(join(documents, 'copyright'), copyright(description.date.getUTCFullYear()))
  tree.write('usr/share/lintian/overrides/tsvmm', lintianOverrides)
  tree.compress(join(documents, 'changelog'), changelog({ ...description, installedBytes: 0 }))
  for (const name of ['README.md', 'CHANGELOG.md']) tree.compress(join(documents, name), readFileSync(join(root, name)))
  tree.compress('usr/share/man/man1/tsvmm.1', readFileSync(join(root, 'dist/tsvmm.1')))
}

/** Where each shell looks for what packages bring. */
const completions = {
  bash: 'usr/share/bash-completion/completions/tsvmm',
  zsh: 'usr/share/zsh/vendor-completions/_tsvmm',
  fish: 'usr/share/fish/vendor_completions.d/tsvmm.fish',
} as const

async function stageCompletions(tree: Tree): Promise<void> {
  for (const [shell, path] of Object.entries(completions)) {
    const { stdout } = await execa(tree.path('usr/bin/tsvmm'), ['completion', shell])
    tree.write(path, `${stdout}\n`)
  }
}

function stageService(root: string, tree: Tree): void {
  const from = join(root, 'resources/systemd')
  tree.copy(join(from, 'tsvmm@.service'), 'usr/lib/systemd/system/tsvmm@.service')
  tree.copy(join(from, 'tsvmm.conf'), 'usr/lib/sysusers.d/tsvmm.conf')
  tree.copy(join(from, 'machine'), join(library, 'machine'), 0o755)
}
