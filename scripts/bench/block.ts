import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { type FioJob, fioCommand, fioResult } from './fio.ts'
import { measureInGuest } from './measurement.ts'
import type { Samples } from './report.ts'
import type { Subject } from './subjects.ts'

const mebibyte = 1024 * 1024
const diskMib = 256
const secondsPerJob = 4
/** Images lie where builds do: in the lab the temporary folder is memory, which serves requests unlike a disk. */
const storage = new URL('../../build', import.meta.url).pathname

interface BlockFigure extends FioJob {
  readonly unit: '1/s' | 'MB/s'
}

const figures: readonly BlockFigure[] = [
  { name: 'block_random_read_iops', unit: '1/s', pattern: 'randread', blockBytes: 4096, depth: 1 },
  { name: 'block_random_read_depth32_iops', unit: '1/s', pattern: 'randread', blockBytes: 4096, depth: 32 },
  { name: 'block_read_mbps', unit: 'MB/s', pattern: 'read', blockBytes: 256 * 1024, depth: 16 },
  { name: 'block_random_write_iops', unit: '1/s', pattern: 'randwrite', blockBytes: 4096, depth: 32 },
]

/** One disk with one queue, its image in the host's page cache: what is measured is the way there, not the host's disk. */
export async function benchBlock(subjects: readonly Subject[], runs: number, samples: Samples): Promise<void> {
  const directory = mkdtempSync(join(storage, 'bench-'))
  try {
    const disk = join(directory, 'disk.img')
    writeImage(disk)
    const script = figures.map(job => fioCommand(job, '/dev/vdc', secondsPerJob)).join('\n')
    for (let run = 0; run < runs; run += 1) {
      for (const subject of subjects) {
        // What the one before has written must not be written back while this one is measured.
        await execa('sync')
        const output = await measureInGuest(subject, script, guest => {
          return { ...guest, disks: [...(guest.disks ?? []), { path: disk, readOnly: false }] }
        })
        for (const figure of figures) {
          const { operationsPerSecond, bytesPerSecond } = fioResult(output, figure)
          const value = figure.unit === 'MB/s' ? bytesPerSecond / 1e6 : operationsPerSecond
          samples.add(figure.name, subject.name, figure.unit, 'higher', value)
        }
      }
    }
  } finally {
    rmSync(directory, { recursive: true })
  }
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
