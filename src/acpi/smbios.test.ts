import test from 'ava'
import fc from 'fast-check'
import { type SmbiosDescription, smbios } from './smbios.ts'
import { checksumOf } from './table.ts'
import { golden } from './testing/golden.ts'

const place = { address: 0xf0000, end: 0x100000 }

interface Structure {
  readonly type: number
  readonly handle: number
  readonly formatted: Buffer
  readonly strings: readonly string[]
}

/** Reads the table as a guest does, by its entry point. */
function read(bytes: Uint8Array): Structure[] {
  const entry = Buffer.from(bytes)
  const start = Number(entry.readBigUInt64LE(16)) - place.address
  const end = start + entry.readUInt32LE(12)
  const structures: Structure[] = []
  let at = start
  while (at < end) {
    const length = entry.readUInt8(at + 1)
    const formatted = entry.subarray(at, at + length)
    const stringsEnd = entry.indexOf('\0\0', at + length)
    const strings = entry.toString('utf8', at + length, stringsEnd).split('\0')
    structures.push({ type: formatted.readUInt8(0), handle: formatted.readUInt16LE(2), formatted, strings })
    at = stringsEnd + 2
  }
  return structures
}

function textAt({ formatted, strings }: Structure, offset: number): string | undefined {
  const number = formatted.readUInt8(offset)
  return number === 0 ? undefined : strings[number - 1]
}

const owned: SmbiosDescription = {
  manufacturer: 'Maker',
  productName: 'Product',
  version: '7',
  serialNumber: 'SN-1',
  uuid: '00112233-4455-6677-8899-aabbccddeeff',
  skuNumber: 'sku',
  family: 'family',
  chassisAssetTag: 'tag',
  oemStrings: ['one', 'zwölf'],
}

test('the entry point has its anchor, version and checksum', t => {
  const entry = smbios({}, place).subarray(0, 0x18)
  t.is(Buffer.from(entry).toString('latin1', 0, 5), '_SM3_')
  t.deepEqual([...entry.subarray(6, 12)], [0x18, 3, 2, 0, 1, 0])
  t.is(checksumOf(entry), 0)
})

test('the tables of a machine that is not described and of one that is are the frozen ones', t => {
  for (const [name, description] of [['default', {}] as const, ['owned', owned] as const]) {
    const bytes = smbios(description, place)
    t.deepEqual(Uint8Array.from(bytes), golden(`smbios-${name}`, bytes))
  }
})

test('structures come in order and end with the end of the table', t => {
  const structures = read(smbios(owned, place))
  t.deepEqual(
    structures.map(each => each.type),
    [0, 1, 3, 11, 127],
  )
  t.deepEqual(
    structures.map(each => each.handle),
    [1, 2, 3, 4, 5],
  )
  t.deepEqual(
    read(smbios({}, place)).map(each => each.type),
    [0, 1, 3, 127],
  )
})

test('what the owner says of the machine is where readers look for it', t => {
  const [, system, chassis, oem] = read(smbios(owned, place))
  if (system === undefined || chassis === undefined || oem === undefined) return t.fail()
  const fields = [4, 5, 6, 7, 0x19, 0x1a].map(offset => textAt(system, offset))
  t.deepEqual(fields, ['Maker', 'Product', '7', 'SN-1', 'sku', 'family'])
  t.is(system.formatted.toString('hex', 8, 24), '33221100554477668899aabbccddeeff')
  t.is(textAt(chassis, 8), 'tag')
  t.is(oem.formatted.readUInt8(4), 2)
  t.deepEqual(oem.strings, ['one', 'zwölf'])
})

test('without a description it is the machine that guests of Cloud Hypervisor know', t => {
  const [firmware, system] = read(smbios({ serialNumber: '' }, place))
  if (firmware === undefined || system === undefined) return t.fail()
  t.deepEqual(
    [textAt(system, 4), textAt(system, 5), textAt(system, 7)],
    ['Cloud Hypervisor', 'cloud-hypervisor', undefined],
  )
  t.true(system.formatted.subarray(8, 24).every(byte => byte === 0))
  const isVirtualMachine = 1 << 4
  t.is(firmware.formatted.readUInt8(0x13), isVirtualMachine)
})

test('any text without a NUL comes back as it went in', t => {
  const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }).filter(each => !each.includes('\0'))
  const property = fc.property(fc.array(text, { minLength: 1, maxLength: 255 }), text, (oemStrings, serialNumber) => {
    const structures = read(smbios({ oemStrings, serialNumber }, place))
    const [, system, , oem] = structures
    if (system === undefined || oem === undefined) return false
    return textAt(system, 7) === serialNumber && oem.strings.every((each, at) => each === oemStrings[at])
  })
  t.notThrows(() => fc.assert(property))
})

test('what no table can hold is refused with the option it came from', t => {
  const refused = (description: SmbiosDescription, message: RegExp) =>
    t.throws(() => smbios(description, place), { code: 'ERR_CONFIG_INVALID', message })
  refused({ uuid: 'no' }, /--platform: uuid: "no" is not a UUID/)
  refused({ serialNumber: 'a\0b' }, /serial_number: contains a NUL/)
  refused({ oemStrings: ['a', ''] }, /oem_strings: a string is empty/)
  refused({ oemStrings: new Array<string>(256).fill('a') }, /oem_strings: there are more than 255/)
  t.throws(() => smbios({ oemStrings: ['a'.repeat(0x10000)] }, place), { code: 'ERR_RESOURCE_EXHAUSTED' })
})
