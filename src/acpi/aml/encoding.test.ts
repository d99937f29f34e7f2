import test from 'ava'
import fc from 'fast-check'
import { eisaId, fieldLength, integer, namePath, packageLength, sized, string, unsigned, uuid } from './encoding.ts'
import { argument, local } from './expressions.ts'
import { method, mutex, packageOf } from './objects.ts'
import { addressSpace, irq } from './resources.ts'

/** Reads a length as a guest does: the lead byte says how many bytes follow it. */
function decodeLength(bytes: Uint8Array): { length: number; encodedBytes: number } {
  const lead = bytes[0] ?? 0
  const extra = lead >> 6
  if (extra === 0) return { length: lead, encodedBytes: 1 }
  let length = lead & 0xf
  for (let index = 1; index <= extra; index += 1) length += (bytes[index] ?? 0) * 2 ** (8 * index - 4)
  return { length, encodedBytes: 1 + extra }
}

/** Sizes around every step of the encoding, and any others. */
const aroundSteps = fc.oneof(
  ...[6, 12, 20, 28].map(bits => fc.integer({ min: Math.max(0, 2 ** bits - 8), max: 2 ** bits - 6 })),
  fc.integer({ min: 0, max: 2 ** 28 - 5 }),
)

test('package lengths count their own bytes and are as short as can be', t => {
  t.deepEqual([...packageLength(62)], [0x3f])
  t.deepEqual([...packageLength(63)], [0x41, 0x04])
  t.deepEqual([...packageLength(4093)], [0x4f, 0xff])
  t.deepEqual([...packageLength(4094)], [0x81, 0x00, 0x01])
  const property = fc.property(aroundSteps, contentBytes => {
    const encoded = packageLength(contentBytes)
    const { length, encodedBytes } = decodeLength(encoded)
    const shorter = encodedBytes - 1
    const shorterMaximum = shorter === 0 ? -1 : shorter === 1 ? 0x3f : 2 ** (4 + 8 * (shorter - 1)) - 1
    return (
      encodedBytes === encoded.length &&
      length === contentBytes + encodedBytes &&
      contentBytes + shorter > shorterMaximum
    )
  })
  t.notThrows(() => fc.assert(property))
  t.notThrows(() => packageLength(2 ** 28 - 5))
  t.throws(() => packageLength(2 ** 28 - 4), { instanceOf: RangeError })
})

test('field lengths are bits and do not count themselves', t => {
  const property = fc.property(aroundSteps, bits => {
    const encoded = fieldLength(bits)
    const { length, encodedBytes } = decodeLength(encoded)
    return length === bits && encodedBytes === encoded.length
  })
  t.notThrows(() => fc.assert(property))
  t.throws(() => fieldLength(2 ** 28), { instanceOf: RangeError })
})

test('what is sized holds its content', t => {
  const property = fc.property(fc.uint8Array({ maxLength: 5000 }), content => {
    const encoded = sized([0x5b, 0x82], Uint8Array.from(content))
    const { length, encodedBytes } = decodeLength(encoded.subarray(2))
    const isWhole = length === encoded.length - 2
    return isWhole && Buffer.compare(encoded.subarray(2 + encodedBytes), content) === 0
  })
  t.notThrows(() => fc.assert(property))
})

const segment = fc.stringMatching(/^[A-Z_][A-Z0-9_]{0,3}$/)
const prefix = fc.constantFrom('', '\\', '^', '^^')

test('names are four characters a segment behind their prefixes', t => {
  t.is(Buffer.from(namePath('\\')).toString('latin1'), '\\\0')
  t.is(Buffer.from(namePath('\\_SB')).toString('latin1'), '\\_SB_')
  t.is(Buffer.from(namePath('\\_SB.PWRB')).toString('latin1'), '\\\x2e_SB_PWRB')
  t.is(Buffer.from(namePath('A.B.C')).toString('latin1'), '\x2f\x03A___B___C___')
  const property = fc.property(prefix, fc.array(segment, { minLength: 1, maxLength: 255 }), (before, segments) => {
    const encoded = Buffer.from(namePath(before + segments.join('.'))).toString('latin1')
    const text = segments.map(each => each.padEnd(4, '_')).join('')
    return encoded.startsWith(before) && encoded.endsWith(text)
  })
  t.notThrows(() => fc.assert(property))
})

test('what is no name is refused', t => {
  for (const wrong of ['', 'TOOLONG', 'a', '1ABC', 'A..B', '.A', 'A.', '_SB\\', 'A^B', 'A B', 'A\n']) {
    t.throws(() => namePath(wrong), { instanceOf: RangeError }, wrong)
  }
  t.throws(() => namePath(new Array<string>(256).fill('A').join('.')), { instanceOf: RangeError })
})

test('integers take the shortest form and stay what they are', t => {
  const value = fc.oneof(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.bigInt({ min: 0n, max: 0x1_0001n }))
  const widths = new Map([
    [0x0a, 1],
    [0x0b, 2],
    [0x0c, 4],
    [0x0e, 8],
  ])
  const property = fc.property(value, wanted => {
    const bytes = integer(wanted)
    const opcode = bytes[0] ?? 0
    const width = widths.get(opcode)
    if (width === undefined) return bytes.length === 1 && wanted === (opcode === 0xff ? 2n ** 64n - 1n : BigInt(opcode))
    const read = [...bytes.subarray(1)].reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n)
    const fitsNarrower = width === 1 ? wanted <= 1n : wanted < 1n << BigInt(4 * width)
    return bytes.length === 1 + width && read === wanted && !fitsNarrower
  })
  t.notThrows(() => fc.assert(property, { numRuns: 500 }))
  for (const wrong of [-1, 2n ** 64n, 0.5]) t.throws(() => integer(wrong), { instanceOf: RangeError })
  t.throws(() => unsigned(256, 1), { instanceOf: RangeError })
})

test('identifiers have the forms that guests compare', t => {
  t.deepEqual([...eisaId('PNP0A08')], [0x0c, 0x41, 0xd0, 0x0a, 0x08])
  for (const wrong of ['PNP0A0', 'pnp0A08', 'PNP0A08X']) t.throws(() => eisaId(wrong), { instanceOf: RangeError })
  const deviceLabeling = [
    0xd0, 0x37, 0xc9, 0xe5, 0x53, 0x35, 0x7a, 0x4d, 0x91, 0x17, 0xea, 0x4d, 0x19, 0xc3, 0x43, 0x4d,
  ]
  t.deepEqual([...uuid('e5c937d0-3553-4d7a-9117-ea4d19c3434d').subarray(4)], deviceLabeling)
  t.throws(() => uuid('e5c937d0'), { instanceOf: RangeError })
  t.throws(() => string('ü'), { instanceOf: RangeError })
  t.throws(() => string('a\0'), { instanceOf: RangeError })
})

test('what AML has no room for is refused', t => {
  t.throws(() => local(8), { instanceOf: RangeError })
  t.throws(() => argument(7), { instanceOf: RangeError })
  t.throws(() => method('TEST', { argumentCount: 8 }), { instanceOf: RangeError })
  t.throws(() => mutex('LOCK', 16), { instanceOf: RangeError })
  t.throws(() => packageOf(...new Array<Uint8Array<ArrayBuffer>>(256).fill(integer(0))), { instanceOf: RangeError })
  t.throws(() => addressSpace('memory', 4, { first: 1, last: 0 }), { instanceOf: RangeError })
  t.throws(() => addressSpace('memory', 4, { first: 0, last: 2 ** 32 }), { instanceOf: RangeError })
  t.throws(() => irq(16), { instanceOf: RangeError })
})
