import test from 'ava'
import fc from 'fast-check'
import { alignDown, alignUp, concatenate, consecutive, Layout, readNumber, readUint, writeUint } from './bytes.ts'

const layout = new Layout(16, { ...consecutive(['first', 'second'], 2), third: { offset: 8, width: 8 } })

test('a layout puts fields where its table says, little-endian', t => {
  const bytes = layout.encode({ first: 0x0102, second: 0x0304, third: 0x1122334455667788n })
  t.is(Buffer.from(bytes).toString('hex'), '02010403000000008877665544332211')
})

test('writing some fields leaves the others', t => {
  const bytes = layout.encode({ first: 1, second: 2, third: 3 })
  layout.write(bytes, { second: 9 })
  t.deepEqual(
    (['first', 'second', 'third'] as const).map(name => layout.readNumber(bytes, name)),
    [1, 9, 3],
  )
})

test('structures in a table are reached by their base', t => {
  const table = concatenate([layout.encode({ first: 1 }), layout.encode({ first: 2 })])
  t.is(layout.readNumber(table, 'first', layout.sizeBytes), 2)
  layout.write(table, { third: 7 }, layout.sizeBytes)
  t.is(layout.read(table, 'third', layout.sizeBytes), 7n)
  t.throws(() => layout.read(table, 'first', 2 * layout.sizeBytes), { instanceOf: RangeError })
})

test('a table with a field beyond its structure is refused', t => {
  t.throws(() => new Layout(8, { late: { offset: 5, width: 4 } }), { instanceOf: RangeError, message: /late/ })
})

test('what is written is read again, modulo the width', t => {
  const width = fc.constantFrom(1 as const, 2 as const, 4 as const, 8 as const)
  const property = fc.property(width, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.nat(8), (size, value, offset) => {
    const bytes = new Uint8Array(16)
    writeUint(bytes, offset, size, value)
    t.is(readUint(bytes, offset, size), BigInt.asUintN(size * 8, value))
    t.is(readNumber(bytes, offset, size), Number(BigInt.asUintN(size * 8, value)))
    t.true(bytes.every((byte, index) => (index >= offset && index < offset + size) || byte === 0))
  })
  fc.assert(property)
})

test('numbers and bigints are written alike, also from inside a larger buffer', t => {
  const bytes = new Uint8Array(16).subarray(4, 12)
  writeUint(bytes, 0, 4, 0xffff_ffff)
  t.is(readUint(bytes, 0, 8), 0xffff_ffffn)
  t.throws(() => writeUint(bytes, 6, 4, 0), { instanceOf: RangeError })
})

test('alignment holds beyond 32 bits', t => {
  const property = fc.property(fc.nat({ max: 2 ** 52 }), fc.integer({ min: 0, max: 30 }), (value, bits) => {
    const alignment = 2 ** bits
    t.is(alignDown(value, alignment) % alignment, 0)
    t.true(alignDown(value, alignment) <= value && value - alignDown(value, alignment) < alignment)
    t.true(alignUp(value, alignment) >= value && alignUp(value, alignment) - value < alignment)
  })
  fc.assert(property)
})
