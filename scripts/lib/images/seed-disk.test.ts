import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { seedFolder, writeSeedDisk } from './seed-disk.ts'

class Folder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'tsvmm-seed-test-'))

  write(files: Readonly<Record<string, string>>): this {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(this.path, name), text)
    return this
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true })
  }
}

/** From offset 43 of a FAT's first sector. */
function labelOf(image: string): string {
  return readFileSync(image).toString('latin1', 43, 54).trim()
}

for (const distro of ['ubuntu', 'fedora']) {
  test(`the seed of ${distro} is on its disk, the same each time`, t => {
    using folder = new Folder()
    const [one, other] = [join(folder.path, 'one'), join(folder.path, 'other')]
    writeSeedDisk(seedFolder(distro), one)
    writeSeedDisk(seedFolder(distro), other)
    t.is(labelOf(one), 'CIDATA')
    t.true(readFileSync(one).equals(readFileSync(other)))
    for (const name of ['user-data', 'meta-data', 'network-config']) {
      const onDisk = execFileSync('mtype', ['-i', one, `::${name}`], { encoding: 'utf8' })
      t.is(onDisk, readFileSync(join(seedFolder(distro), name), 'utf8'))
    }
  })
}

const sound = { 'user-data': '#cloud-config\n', 'meta-data': 'instance-id: one\n' }

test('a network configuration may be missing, the other files not', t => {
  using folder = new Folder().write(sound)
  t.notThrows(() => writeSeedDisk(folder.path, join(folder.path, 'image')))
  rmSync(join(folder.path, 'meta-data'))
  t.throws(() => writeSeedDisk(folder.path, join(folder.path, 'image')), { message: /meta-data: is missing$/ })
})

test('what cloud-init would pass over is refused, and no disk is left', t => {
  for (const [name, text, says] of [
    ['user-data', 'users: []\n', /begins neither with #cloud-config/],
    ['meta-data', 'local-hostname: x\n', /has no instance-id/],
    ['meta-data', 'instance-id:\n', /has no instance-id/],
  ] as const) {
    using folder = new Folder().write({ ...sound, [name]: text })
    t.throws(() => writeSeedDisk(folder.path, join(folder.path, 'image')), { message: says })
    t.deepEqual(readdirSync(folder.path).toSorted(), ['meta-data', 'user-data'])
  }
})
