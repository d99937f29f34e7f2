import { closeSync, copyFileSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { type FioJob, fioCommand, fioResult } from './fio.ts'
import { measureInGuest } from './measurement.ts'
import type { Samples } from './report.ts'
import type { Guest, GuestDisk, Subject } from './subjects.ts'

const mebibyte = 1024 * 1024
const diskMib = 256
const secondsPerJob = 4
/** Images lie where builds do: in the lab the temporary folder is memory, which serves requests unlike a disk. */
const storage = new URL('../../build', import.meta.url).pathname

interface BlockFigure extends FioJob {
  readonly unit: '1/s' | 'MB/s'
}

interface BlockImage {
  readonly format: NonNullable<GuestDisk['format']>
  /** What qemu-img does to have one; a raw one is copied. Empty images are for writing alone. */
  readonly make?: readonly string[]
  readonly isEmpty?: boolean
}

/** What `--format` may be. */
export const blockImages: Readonly<Record<string, BlockImage>> = {
  raw: { format: 'raw' },
  qcow2: { format: 'qcow2', make: ['convert', '-f', 'raw', '-O', 'qcow2'] },
  qcow2_zlib: { format: 'qcow2', make: ['convert', '-c', '-f', 'raw', '-O', 'qcow2'] },
  qcow2_new: { format: 'qcow2', make: ['create', '-q', '-f', 'qcow2'], isEmpty: true },
  vhdx: { format: 'vhdx', make: ['convert', '-f', 'raw', '-O', 'vhdx'] },
  vhdx_new: { format: 'vhdx', make: ['create', '-q', '-f', 'vhdx'], isEmpty: true },
}

const figures: readonly BlockFigure[] = [
  { name: 'block_random_read_iops', unit: '1/s', pattern: 'randread', blockBytes: 4096, depth: 1 },
  { name: 'block_random_read_depth32_iops', unit: '1/s', pattern: 'randread', blockBytes: 4096, depth: 32 },
  { name: 'block_read_mbps', unit: 'MB/s', pattern: 'read', blockBytes: 256 * 1024, depth: 16 },
  { name: 'block_random_write_iops', unit: '1/s', pattern: 'randwrite', blockBytes: 4096, depth: 32 },
]

/** One disk with one queue, its image in the host's page cache: what is measured is the way there, not the host's disk. */
export async function benchBlock(
  subjects: readonly Subject[],
  runs: number,
  samples: Samples,
  name: string,
): Promise<void> {
  const image = blockImages[name]
  if (image === undefined) throw new RangeError(`${name} is no format of an image`)
  const directory = mkdtempSync(join(storage, 'bench-'))
  try {
    const raw = join(directory, 'disk.raw')
    writeImage(raw)
    const jobs = figures.filter(({ pattern }) => pattern === 'randwrite' || image.isEmpty !== true)
    const script = jobs.map(job => fioCommand(job, '/dev/vdc', secondsPerJob)).join('\n')
    for (let run = 0; run < runs; run += 1) {
      for (const subject of subjects) {
        const path = await freshImage(directory, raw, image)
        const disk = { path, readOnly: false, format: image.format }
        const extend = (guest: Guest) => ({ ...guest, disks: [...(guest.disks ?? []), disk] })
        const output = await measureInGuest(subject, script, { extend })
        for (const figure of jobs) {
          const { operationsPerSecond, bytesPerSecond } = fioResult(output, figure)
          const value = figure.unit === 'MB/s' ? bytesPerSecond / 1e6 : operationsPerSecond
          const figureName = name === 'raw' ? figure.name : figure.name.replace(/^block/, `block_${name}`)
          samples.add(figureName, subject.name, figure.unit, 'higher', value)
        }
      }
    }
  } finally {
    rmSync(directory, { recursive: true })
  }
}

/** What the subject before has written is not there, and need not be written back while this one is measured. */
async function freshImage(directory: string, raw: string, { make, isEmpty }: BlockImage): Promise<string> {
  const path = join(directory, 'disk.img')
  rmSync(path, { force: true })
  if (make === undefined) copyFileSync(raw, path)
  else if (isEmpty) await execa('qemu-img', [...make, path, `${diskMib}M`])
  else await execa('qemu-img', [...make, raw, path])
  await execa('sync')
  return path
}

/** No holes and no zeroes: neither may be short cuts. */
function writeImage(path: string): void {
  const fd = openSync(path, 'wx')
  try {
    for (let index = 0; index < diskMib; index += 1) writeSync(fd, Buffer.alloc(mebibyte, (index % 255) + 1))
  } finally {
    closeSync(fd)
  }
}
