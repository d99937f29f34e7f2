import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { parsePartition, writeDiskImage } from './disk-image.ts'

const mebibyte = 1024 * 1024

test('files become partitions, and zeroes take no room', t => {
  const directory = mkdtempSync(join(tmpdir(), 'tsvmm-image-test-'))
  try {
    const [esp, root] = [join(directory, 'esp'), join(directory, 'root')]
    writeFileSync(esp, Buffer.alloc(3 * mebibyte + 100, 'boot'))
    writeFileSync(root, Buffer.concat([Buffer.alloc(64 * mebibyte), Buffer.from('end')]))
    const image = join(directory, 'disk.raw')
    writeDiskImage(image, [parsePartition(`15,uefi,ESP,${esp}`), parsePartition(`1,linux,root,${root}`)])
    const bytes = readFileSync(image)
    t.true(bytes.subarray(mebibyte, 4 * mebibyte + 100).equals(readFileSync(esp)))
    t.true(bytes.subarray(5 * mebibyte, 69 * mebibyte + 3).equals(readFileSync(root)))
    t.is(bytes.toString('latin1', 512, 520), 'EFI PART')
    t.is(bytes.toString('latin1', bytes.length - 512, bytes.length - 504), 'EFI PART')
    t.true(statSync(image).blocks * 512 < 8 * mebibyte)
  } finally {
    rmSync(directory, { recursive: true })
  }
})

test('partitions are described in one word, with commas in the file name only', t => {
  t.deepEqual(parsePartition('1,linux,root,/a,b'), { number: 1, type: 'linux', name: 'root', file: '/a,b' })
  for (const text of ['', '1', 'x,linux,root,file', '1,linux,,file', '1,linux,root,']) {
    t.throws(() => parsePartition(text), { message: /not NUMBER,TYPE,NAME,FILE/ })
  }
  t.throws(() => parsePartition('1,swap,root,file'), { message: /types are uefi, linux, boot/ })
})
