import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdtempSync, readFileSync, renameSync, rmSync, utimesSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'

/** What cloud-init's NoCloud data source reads; it goes on without a network configuration. */
const required = ['user-data', 'meta-data'] as const
const optional = ['network-config', 'vendor-data'] as const
const diskKibibytes = 8192
/** 2026: the same bytes from the same files. */
const epochSeconds = 1_767_225_600

/** Where the seed of a distribution is: a folder of fixtures/cloud-init, or any other by its path. */
export function seedFolder(name: string): string {
  const known = join(import.meta.dirname, '../../../fixtures/cloud-init', name)
  return !name.includes('/') && existsSync(known) ? known : resolve(name)
}

/** Makes a FAT disk with label CIDATA of the files in a folder. Throws naming the file that is missing or wrong. */
export function writeSeedDisk(folder: string, path: string): void {
  const files = [...required, ...optional.filter(name => existsSync(join(folder, name)))].map(name =>
    join(folder, name),
  )
  for (const file of files) checkSeedFile(file)
  const scratch = mkdtempSync(join(tmpdir(), 'tsvmm-seed-'))
  try {
    const image = `${path}.partial`
    rmSync(image, { force: true })
    const environment = {
      ...process.env,
      SOURCE_DATE_EPOCH: String(epochSeconds),
      PATH: `${process.env['PATH']}:/usr/sbin`,
    }
    const copies = files.map(file => {
      const copy = join(scratch, basename(file))
      copyFileSync(file, copy)
      utimesSync(copy, epochSeconds, epochSeconds)
      return copy
    })
    const run = (program: string, args: readonly string[]) =>
      execFileSync(program, args, { env: environment, stdio: ['ignore', 'ignore', 'inherit'] })
    run('mkfs.vfat', ['--invariant', '-n', 'CIDATA', '-C', image, String(diskKibibytes)])
    run('mcopy', ['-m', '-i', image, ...copies, '::'])
    renameSync(image, path)
  } finally {
    rmSync(scratch, { recursive: true })
    rmSync(`${path}.partial`, { force: true })
  }
}

/** Mistakes that cloud-init passes over in silence. */
function checkSeedFile(file: string): void {
  if (!existsSync(file)) throw new Error(`${file}: is missing`)
  const text = readFileSync(file, 'utf8')
  const name = basename(file)
  if (name === 'user-data' && !/^(#|Content-Type:)/.test(text)) {
    throw new Error(`${file}: begins neither with #cloud-config nor as any other kind of user data`)
  }
  if (name === 'meta-data' && !/^instance-id: *\S/m.test(text)) throw new Error(`${file}: has no instance-id`)
}
