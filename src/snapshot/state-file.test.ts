import { zstdCompressSync } from 'node:zlib'
import test from 'ava'
import fc from 'fast-check'
import type { ComponentRecord } from '../state/walk.ts'
import { decodeRecords, encodeRecords } from './state-file.ts'

const records: readonly ComponentRecord[] = [
  { component: 'vm', id: 'kvm-clock', version: 1, body: Uint8Array.of(1, 2, 3) },
  { component: 'vcpu0', id: 'vcpu-x86_64', version: 2, body: new Uint8Array(10_000) },
]

test('records are read as they were written', t => {
  t.deepEqual(decodeRecords(encodeRecords(records)), records)
})

test('what is no such file is refused in one line, whatever length it claims', t => {
  const frame = Buffer.from(zstdCompressSync(new Uint8Array(16)))
  // A frame of a terabyte: magic number, descriptor with eight bytes of content size, window, size.
  const bomb = Buffer.concat([frame.subarray(0, 4), Buffer.of(0xc0, 0x00), Buffer.alloc(8, 0x01), frame.subarray(6)])
  for (const bytes of [
    new Uint8Array(0),
    Uint8Array.of(1, 2, 3),
    frame,
    bomb,
    zstdCompressSync(Buffer.from([0x93, 1, 2, 3])),
    encodeRecords([{ component: 'two\nlines', id: 'timer', version: 1, body: new Uint8Array(1) }]),
  ]) {
    const error = t.throws(() => decodeRecords(bytes), { instanceOf: TypeError })
    t.false(error?.message.includes('\n'))
  }
})

test('whatever is flipped in it, records come out or a reason', t => {
  const whole = encodeRecords(records)
  const flips = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 3 })
  fc.assert(
    fc.property(flips, each => {
      const bytes = Uint8Array.from(whole)
      for (const [place, value] of each) bytes[place] = value
      try {
        return Array.isArray(decodeRecords(bytes))
      } catch (error) {
        return error instanceof TypeError
      }
    }),
    { numRuns: 1_000 },
  )
  t.pass()
})
