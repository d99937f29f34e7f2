import test from 'ava'
import { integer } from './aml/encoding.ts'
import { call } from './aml/expressions.ts'
import { device, method, name, scope } from './aml/objects.ts'
import { checksumOf, table } from './table.ts'
import { buildAcpiTables, type PlacedTable } from './tables.ts'
import { golden } from './testing/golden.ts'
import { recompile } from './testing/iasl.ts'
import { aMachine } from './testing/machine.ts'

const machines = [1, 4, 254].flatMap(processors => [1, 2].map(segments => ({ processors, segments })))

function find(tables: readonly PlacedTable[], signature: string): PlacedTable {
  const found = tables.find(each => each.signature === signature)
  if (found === undefined) throw new Error(`no ${signature}`)
  return found
}

for (const machine of machines) {
  const name = `${machine.processors} vCPUs and ${machine.segments} segments`

  test(`the tables for ${name} are the frozen ones`, t => {
    for (const { signature, bytes } of buildAcpiTables(aMachine(machine))) {
      const frozen = golden(`${signature.toLowerCase()}-${machine.processors}-${machine.segments}`, bytes)
      t.deepEqual(Uint8Array.from(bytes), frozen, signature)
    }
  })

  test(`ACPICA reads the tables for ${name} without a word and compiles the same bytes again`, t => {
    for (const { signature, bytes } of buildAcpiTables(aMachine(machine))) {
      t.is(checksumOf(bytes), 0, signature)
      if (signature === 'RSDP') continue
      const { errors, warnings, bytes: again } = recompile(signature, bytes)
      t.deepEqual(errors, [], signature)
      t.deepEqual(warnings, [], signature)
      t.deepEqual(contentOf(again), contentOf(bytes), signature)
    }
  })
}

/** Without the checksum and the compiler's name, which each compiler writes for itself. */
function contentOf(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from(bytes.subarray(36))
}

test('tables follow each other without overlap and point to each other', t => {
  const tables = buildAcpiTables(aMachine({ processors: 4 }))
  t.deepEqual(
    tables.map(each => each.signature),
    ['RSDP', 'DSDT', 'FACP', 'APIC', 'MCFG', 'XSDT'],
  )
  let end = 0xa0000
  for (const { address, bytes } of tables) {
    t.true(address >= end)
    t.is(address % 16, 0)
    end = address + bytes.length
  }
  const read = (signature: string, offset: number) => Buffer.from(find(tables, signature).bytes).readBigUInt64LE(offset)
  const addressOf = (signature: string) => BigInt(find(tables, signature).address)
  t.is(read('RSDP', 24), addressOf('XSDT'))
  t.deepEqual(
    [36, 44, 52].map(offset => read('XSDT', offset)),
    ['FACP', 'APIC', 'MCFG'].map(addressOf),
  )
  t.is(read('FACP', 140), addressOf('DSDT'))
})

test('what a hardware-reduced platform has not is zero in the FADT', t => {
  const bare = find(buildAcpiTables(aMachine()), 'FACP').bytes
  const isZero = (bytes: Uint8Array, from: number, end: number) => bytes.subarray(from, end).every(byte => byte === 0)
  // ACPI 6.5 §5.2.9: offsets 46 to 108 and 148 to 243, and these flags.
  t.true(isZero(bare, 46, 109))
  t.true(isZero(bare, 148, 244))
  const ignoredFlags = [1, 2, 3, 7, 8, 13, 14, 16, 17].reduce((mask, bit) => mask | (1 << bit), 0)
  t.is(Buffer.from(bare).readUInt32LE(112) & ignoredFlags, 0)
})

test('a clock that is described is not denied', t => {
  const hardware = { ...aMachine().hardware, rtcPort: 0x70 }
  const tables = buildAcpiTables({ ...aMachine(), hardware })
  const noCmosClock = 1 << 5
  t.is(Buffer.from(find(tables, 'FACP').bytes).readUInt16LE(109) & noCmosClock, 0)
  t.not(Buffer.from(find(buildAcpiTables(aMachine()), 'FACP').bytes).readUInt16LE(109) & noCmosClock, 0)
  t.regex(recompile('DSDT', find(tables, 'DSDT').bytes).source, /Device \(RTC\)/)
})

test('processors with large ids get entries that can hold them', t => {
  const source = recompile(
    'APIC',
    find(buildAcpiTables(aMachine({ processors: 3, apicIdStride: 127 })), 'APIC').bytes,
  ).source
  t.is(source.match(/Processor Local APIC\]/g)?.length, 3)
  t.notRegex(source, /x2APIC/)
  const large = recompile(
    'APIC',
    find(buildAcpiTables(aMachine({ processors: 3, apicIdStride: 255 })), 'APIC').bytes,
  ).source
  t.is(large.match(/Processor Local APIC\]/g)?.length, 1)
  t.is(large.match(/Processor Local x2APIC\]/g)?.length, 2)
  t.is(large.match(/Local x2APIC NMI\]/g)?.length, 1)
  t.is(large.match(/Local APIC NMI\]/g)?.length, 1)
})

test('a processor that is not there at boot is marked as one that may come', t => {
  const machine = aMachine({ processors: 2 })
  const processors = machine.processors.map(each => ({ ...each, isEnabled: each.uid === 0 }))
  const entries = find(buildAcpiTables({ ...machine, processors }), 'APIC').bytes.subarray(44, 60)
  t.deepEqual([...entries], [0, 8, 0, 0, 1, 0, 0, 0, 0, 8, 1, 1, 2, 0, 0, 0])
})

test('parts of the machine add devices, tables and what is to be done on an event', t => {
  const extra = table('SRAT', 3, 'CHSRAT', new Uint8Array(12))
  const contributions = [
    {
      dsdt: [
        scope('\\_SB', device('PHPR', name('_ADR', integer(0)), method('PSCN', {}))),
        scope('\\_SB.PC00', device('S000', name('_ADR', integer(0)))),
      ],
      tables: [extra],
      onGedEvent: { pci: call('\\_SB.PHPR.PSCN') },
    },
  ]
  const tables = buildAcpiTables({ ...aMachine(), contributions })
  t.deepEqual(
    tables.map(each => each.signature),
    ['RSDP', 'DSDT', 'FACP', 'APIC', 'MCFG', 'SRAT', 'XSDT'],
  )
  const { source, errors } = recompile('DSDT', find(tables, 'DSDT').bytes)
  t.deepEqual(errors, [])
  t.regex(source, /If \(\(Local0 & 0x04\)\)\s+\{\s+\\_SB\.PHPR\.PSCN \(\)\s+\}/)
  t.regex(source, /If \(\(Local0 & 0x08\)\)\s+\{\s+Notify \(\\_SB\.PWRB, 0x80\)/)
  t.regex(source, /Scope \(\\_SB\.PC00\)/)
})

test('what the guest is told of its identity is where drivers look for it', t => {
  const { source } = recompile('DSDT', find(buildAcpiTables(aMachine()), 'DSDT').bytes)
  t.regex(
    source,
    /Device \(VGEN\)[\s\S]*"VM_Gen_Counter"[\s\S]*Name \(ADDR, Package \(0x02\)[\s\S]*?0x000EF000,\s+Zero/,
  )
  t.regex(source, /Device \(VCLK\)[\s\S]*"AMZNC10C"[\s\S]*Cacheable, ReadOnly,[\s\S]*?0x00000000000EE000/)
  t.regex(source, /If \(\(Local0 & 0x10\)\)\s+\{\s+Notify \(\\_SB\.VGEN, 0x80\)/)
  t.regex(source, /If \(\(Local0 & 0x20\)\)\s+\{\s+Notify \(\\_SB\.VCLK, 0x80\)/)
})

test('every slot but the bridge’s can be ejected, and the event asks which have changed', t => {
  const { source } = recompile('DSDT', find(buildAcpiTables(aMachine()), 'DSDT').bytes)
  t.is(source.match(/Method \(_EJ0, 1, Serialized\)/g)?.length, 31)
  t.regex(source, /OperationRegion \(PCST, SystemMemory, 0x00003FFFFFFFFFD8, 0x10\)/)
  t.regex(source, /PCIU, {3}32,\s+PCID, {3}32,\s+B0EJ, {3}32,\s+PSEG, {3}32/)
  t.regex(source, /Device \(S031\)[\s\S]*?_SUN, 0x1F\)[\s\S]*?_ADR, 0x001F0000\)[\s\S]*?PHPR\.PCEJ \(0x1F, Zero\)/)
  t.regex(source, /If \(\(Arg0 & 0x80000000\)\)\s+\{\s+Notify \(S031, Arg1\)/)
  t.regex(source, /PSEG = Zero\s+DVNT \(\\_SB\.PHPR\.PCIU, One\)\s+DVNT \(\\_SB\.PHPR\.PCID, 0x03\)/)
  t.regex(source, /If \(\(Local0 & 0x04\)\)\s+\{\s+\\_SB\.PHPR\.PSCN \(\)/)
})

test('thousands of processors fit, and what does not is refused', t => {
  t.notThrows(() => buildAcpiTables(aMachine({ processors: 4096 })))
  t.throws(() => buildAcpiTables({ ...aMachine({ processors: 254 }), end: 0xa1000 }), {
    code: 'ERR_RESOURCE_EXHAUSTED',
    message: /254 processors need \d+ bytes of 4096/,
  })
})
