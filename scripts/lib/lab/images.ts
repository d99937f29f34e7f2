import { execFile, execFileSync } from 'node:child_process'
import {
  cpSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { basename, join, relative, sep } from 'node:path'
import { promisify } from 'node:util'
import { contentKey, makeOnce } from '../cache.ts'

const run = promisify(execFile)
const mebibyte = 1024 * 1024
/** The disk of a run is sparse: this is what a command may write, not what is taken up. */
const runImageMib = 16_384

async function makeExt4(folder: string, image: string, sizeMib: number): Promise<void> {
  const options = ['-q', '-t', 'ext4', '-O', '^has_journal', '-m', '0', '-E', 'root_owner=0:0,lazy_itable_init=1']
  await run('mke2fs', [...options, '-d', folder, '-F', image, `${sizeMib}M`])
}

/** node_modules change seldom and are large: one image for each state of them. */
export async function modulesImage(cache: string, checkout: string): Promise<string> {
  const modules = join(checkout, 'node_modules')
  // npm writes down in here what it has really installed.
  const path = imagePath(cache, 'modules', [readFileSync(join(modules, '.package-lock.json'))])
  await makeOnce(path, temporary => makeExt4(modules, temporary, roomFor(modules)))
  return path
}

/** The guests' kernels and disks, as files. `folder` holds one link for each fixture. */
export async function fixturesImage(cache: string, folder: string): Promise<string> {
  const members = readdirSync(folder).map(name => join(folder, name))
  const path = imagePath(
    cache,
    'fixtures',
    members.map(member => realpathSync(member)),
  )
  await makeOnce(path, async temporary => {
    const staging = `${temporary}.tree`
    rmSync(staging, { recursive: true, force: true })
    for (const member of members) linkFiles(member, join(staging, basename(member)))
    await makeExt4(staging, temporary, roomFor(staging))
    rmSync(staging, { recursive: true })
  })
  return path
}

export interface RunContents {
  readonly checkout: string
  readonly command: readonly string[]
}

/** The disk of one run: the checkout as it is now, the command, and room for what it writes. */
export async function runImage(directory: string, { checkout, command }: RunContents): Promise<string> {
  const staging = join(directory, 'run')
  mkdirSync(join(staging, 'out'), { recursive: true })
  cpSync(checkout, join(staging, 'project'), {
    recursive: true,
    verbatimSymlinks: true,
    preserveTimestamps: true,
    filter: source => belongsInLab(relative(checkout, source)),
  })
  cpSync(join(checkout, 'integration/lab/init'), join(staging, 'init'))
  writeFileSync(join(staging, 'settings'), `CHECKOUT=${quote(checkout)}\n`)
  writeFileSync(join(staging, 'command'), `exec ${command.map(quote).join(' ')}\n`)
  const image = join(directory, 'run.img')
  await makeExt4(staging, image, runImageMib)
  rmSync(staging, { recursive: true })
  return image
}

/** What the command left in $LAB_OUT. Read from the file system's structures: nothing is mounted. */
export function copyOut(image: string, directory: string, target: string): void {
  const dumped = join(directory, 'dump')
  mkdirSync(dumped)
  execFileSync('debugfs', ['-R', `rdump /out ${dumped}`, image], { stdio: ['ignore', 'ignore', 'ignore'] })
  mkdirSync(target, { recursive: true })
  cpSync(join(dumped, 'out'), target, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true })
}

/** Of build/ the lab needs the addon, not what it was linked from. */
export function belongsInLab(path: string): boolean {
  const [top = '', second = '', ...rest] = path.split(sep)
  if (['.git', '.cache', 'node_modules', 'results'].includes(top)) return false
  return top !== 'build' || second === '' || (rest.length === 0 && second.endsWith('.node'))
}

/** As one word of a shell. */
export function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`
}

function imagePath(cache: string, name: string, inputs: readonly (string | Uint8Array)[]): string {
  return join(cache, 'images', `${name}-${contentKey(inputs)}.img`)
}

function linkFiles(source: string, target: string): void {
  mkdirSync(target, { recursive: true })
  for (const file of readdirSync(source)) linkSync(realpathSync(join(source, file)), join(target, file))
}

/** Megabytes for an image of the folder: its blocks, and room for the file system's own. */
function roomFor(folder: string): number {
  let blocks = 0
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    blocks += statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.blocks ?? 0
  }
  return Math.ceil(((blocks * 512) / mebibyte) * 1.1) + 64
}
