import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { readFixedVhd, vhdFooterBytes } from './vhd-footer.ts'

/** An image as QEMU makes it. */
function vhd(t: ExecutionContext, subformat: 'fixed' | 'dynamic'): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'tsvmm-vhd-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'disk.vhd')
  execFileSync('qemu-img', ['create', '-q', '-f', 'vpc', '-o', `subformat=${subformat},force_size=on`, path, '1M'])
  return readFileSync(path)
}

const footerOf = (image: Buffer) => Buffer.from(image.subarray(-vhdFooterBytes))

/** With the checksum that belongs to what it says now. */
function sealed(footer: Buffer): Buffer {
  footer.writeUInt32BE(0, 64)
  let sum = 0
  for (const byte of footer) sum += byte
  footer.writeUInt32BE(~sum >>> 0, 64)
  return footer
}

test('a fixed VHD is a disk of the size that its footer says', t => {
  const image = vhd(t, 'fixed')
  t.is(readFixedVhd(footerOf(image), image.length), 1024 * 1024)
  t.is(readFixedVhd(sealed(footerOf(image)), image.length + 4096), 1024 * 1024)
})

test('what is none, or says what cannot be, is refused', t => {
  const image = vhd(t, 'fixed')
  const refused = (footer: Buffer, message: string) => t.throws(() => readFixedVhd(footer, image.length), { message })
  const changed = (change: (footer: Buffer) => void) => {
    const footer = footerOf(image)
    change(footer)
    return sealed(footer)
  }
  refused(Buffer.alloc(512), 'is no fixed VHD: it has no footer')
  refused(footerOf(image).subarray(1), 'is no fixed VHD: it has no footer')
  const damaged = footerOf(image)
  damaged[100] = 1
  refused(damaged, 'the checksum of its footer is wrong')
  refused(footerOf(vhd(t, 'dynamic')), 'is a VHD that is dynamic: only fixed ones are supported')
  refused(
    changed(footer => footer.writeUInt32BE(4, 60)),
    'is a VHD that is differencing: only fixed ones are supported',
  )
  refused(
    changed(footer => footer.writeUInt32BE(99, 60)),
    'is a VHD that is of type 99: only fixed ones are supported',
  )
  refused(
    changed(footer => footer.writeUInt16BE(2, 12)),
    'its version is not known: 2',
  )
  const says = (bytes: bigint) => `its footer says that the disk has ${bytes} bytes, there are 1048576`
  for (const size of [0n, 1n, 1024n * 1024n + 512n, 2n ** 64n - 512n]) {
    refused(
      changed(footer => footer.writeBigUInt64BE(size, 48)),
      says(size),
    )
  }
})
