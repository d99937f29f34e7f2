import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { labBytes } from '../lib/lab/machine.ts'
import { canVirtualize } from '../lib/virtualization.ts'
import { type CellResult, cellsOf, type Group } from './plan.ts'
import { junitReport, markdownReport } from './report.ts'

/** What a group is run with, where guests run. */
const program = 'integration/matrix/main.ts'
/** The lab needs the first ones itself: those that are attached are /dev/vde and on. */
const firstDisk = 'e'
const groupSeconds = 7200

/** What machines are made from, besides the images. */
const fixtures = ['seed', 'custom-kernel', 'firmware']
/** What each lab is made from. */
const labFixtures = ['lab-root', 'lab-emulator']

export interface MatrixOptions {
  /** Where report.md, junit.xml and the serial logs of cells that failed are left. */
  readonly directory: string
  readonly say: (line: string) => void
}

/** Runs all groups, those of real KVM one after the other, in labs as many at a time as there are cores for. */
export async function runMatrix(groups: readonly Group[], { directory, say }: MatrixOptions): Promise<CellResult[]> {
  const wanted = canVirtualize() ? fixtures : [...fixtures, ...labFixtures]
  await execa('scripts/fixtures', wanted, { stdio: ['ignore', 'ignore', 'inherit'] })
  mkdirSync(directory, { recursive: true })
  const waiting = [...groups]
  const results: CellResult[] = []
  const worker = async () => {
    for (let group = waiting.shift(); group !== undefined; group = waiting.shift()) {
      results.push(...(await runOne(group, directory, say)))
      // After each: a run takes long, and one that is ended has something to show, too.
      writeFileSync(join(directory, 'report.md'), markdownReport(groups, results))
      writeFileSync(join(directory, 'junit.xml'), junitReport(groups, results))
    }
  }
  const labs = Math.min(availableParallelism(), Math.floor(process.availableMemory() / labBytes))
  await Promise.all(Array.from({ length: canVirtualize() ? 1 : Math.max(1, labs) }, worker))
  return results
}

async function runOne(group: Group, directory: string, say: (line: string) => void): Promise<CellResult[]> {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-matrix-'))
  try {
    const { all, exitCode } = await start(group, place, say)
    const results = resultsIn(place)
    for (const file of readdirSync(place).filter(name => name.endsWith('.log'))) {
      copyFileSync(join(place, file), join(directory, file))
    }
    const tail = all.split('\n').slice(-20).join('\n')
    const [first, ...rest] = cellsOf(group).slice(results.length)
    if (first !== undefined) {
      results.push({ ...first, seconds: 0, error: `was not run: the machine's group ended with ${exitCode}:\n${tail}` })
    }
    return [...results, ...rest.map(cell => ({ ...cell, seconds: 0, error: 'was not run, as others before it' }))]
  } finally {
    rmSync(place, { recursive: true })
  }
}

/** Runs a group here or in a lab; each line that it prints is said at once. */
async function start(group: Group, place: string, say: (line: string) => void) {
  const tell = function* (line: unknown) {
    say(String(line))
    yield line
  }
  const options = { reject: false, all: true, stdin: 'ignore', stdout: tell, stderr: tell } as const
  if (canVirtualize()) return execa(process.execPath, [program, JSON.stringify(group), place], options)
  const { group: inside, files } = inLab(group)
  const script = `exec node ${program} "$1" "$LAB_OUT"`
  const command = ['sh', '-c', script, 'sh', JSON.stringify(inside)]
  const disks = files.flatMap(file => ['--disk', file])
  return execa('scripts/lab', ['--timeout', String(groupSeconds), ...disks, '--out', place, '--', ...command], options)
}

/** The group with its files where a lab has them: as disks, but for what was made here, which is there as the other fixtures are. */
function inLab(group: Group): { group: Group; files: string[] } {
  const { image, rustFirmware } = group
  const files: string[] = []
  const attach = (file: string) => `/dev/vd${String.fromCharCode(firstDisk.charCodeAt(0) + files.push(file) - 1)}`
  const path = image.isReal ? attach(image.path) : `/fixtures/${image.name}/disk.raw`
  const firmware = rustFirmware === undefined ? {} : { rustFirmware: attach(rustFirmware) }
  return { group: { ...group, image: { ...image, path }, ...firmware }, files }
}

function resultsIn(place: string): CellResult[] {
  const file = join(place, 'results')
  if (!existsSync(file)) return []
  return readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line): CellResult => JSON.parse(line))
}
