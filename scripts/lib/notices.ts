import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Debian packages whose archives are inside the addon and the launcher (native/CMakeLists.txt). */
const nativePackages = ['libc6-dev', 'liburing-dev', 'libzstd-dev', 'zlib1g-dev', 'libstdc++-*-dev']
const copyrights = '/usr/share/doc'

/**
 * The licences of what is bundled into the program, by npm package, as their authors have them go with every copy. `inputs` are the
 * paths of the sources that the bundler has read.
 */
export function bundledNotices(root: string, inputs: readonly string[]): string {
  const packages = new Set(inputs.flatMap(path => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1] ?? []))
  return joined([...packages].toSorted().map(name => notice(root, name)))
}

function notice(root: string, name: string): Section {
  const folder = join(root, 'node_modules', name)
  const { version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const [file] = globSync('{LICENSE,LICENCE,license}*', { cwd: folder })
  if (file === undefined) throw new Error(`${name} has no licence to go with it`)
  return { title: `${name} ${version} (${license})`, text: readFileSync(join(folder, file), 'utf8') }
}

/** The same of what the compiler puts into the addon, as Debian describes it; nothing elsewhere. */
export function nativeNotices(): string {
  const folders = globSync(nativePackages, { cwd: copyrights }).toSorted()
  const files = folders.map(name => ({ name, path: join(copyrights, name, 'copyright') }))
  const present = files.filter(({ path }) => existsSync(path))
  return joined(present.map(({ name, path }) => ({ title: name, text: readFileSync(path, 'utf8') })))
}

interface Section {
  readonly title: string
  readonly text: string
}

function joined(sections: readonly Section[]): string {
  return sections.map(({ title, text }) => `${title}\n${'='.repeat(title.length)}\n\n${text.trim()}\n\n\n`).join('')
}
