import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import fc from 'fast-check'
import { eisaId, integer, namePath, packageLength } from './aml.ts'
import { type AcpiDescription, placeTables } from './layout.ts'
import { checksumOf } from './tables.ts'

function description(cpuCount: number, segmentCount: number): AcpiDescription {
  const segments = Array.from({ length: segmentCount }, (_, segment) => ({
    segment,
    ecamAddress: 0xe800_0000 + segment * 0x10_0000,
    ecamBytes: 0x10_0000,
    mmio32: { first: 0xc000_0000 + segment * 0x100_0000, last: 0xc0ff_ffff + segment * 0x100_0000 },
    mmio64: { first: 0x1_4000_0000 + segment * 0x4000_0000, last: 0x1_7fff_ffff + segment * 0x4000_0000 },
    ports:
      segment === 0
        ? [
            { first: 0, last: 0xcf7 },
            { first: 0xd00, last: 0xffff },
          ]
        : [],
  }))
  return {
    dsdt: {
      cpuCount,
      segments,
      serial: { port: 0x3f8, interrupt: 4 },
      ged: { address: 0x3f_fff0_0000, interrupt: 5 },
    },
    hardware: { controlPort: 0x600, resetValue: 1, pmTimerPort: 0x608 },
    interrupts: {
      apicIds: Array.from({ length: cpuCount }, (_, index) => index),
      lapicAddress: 0xfee0_0000,
      ioapicAddress: 0xfec0_0000,
    },
    address: 0xa0000,
    end: 0xf0000,
  }
}

for (const cpus of [1, 4, 254]) {
  for (const segments of [1, 2]) {
    test(`the tables for ${cpus} vCPUs and ${segments} segments have right checksums and compile again without an error`, t => {
      const directory = mkdtempSync(join(tmpdir(), 'acpi-'))
      try {
        for (const { signature, bytes } of placeTables(description(cpus, segments))) {
          t.is(checksumOf(bytes), 0, signature)
          if (signature === 'RSDP') continue
          const file = join(directory, `${signature}.dat`)
          writeFileSync(file, bytes)
          execFileSync('iasl', ['-d', file], { stdio: 'pipe' })
          const output = execFileSync('iasl', [join(directory, `${signature}.dsl`)], {
            encoding: 'utf8',
            stdio: 'pipe',
          })
          t.regex(output, /Compilation successful. 0 Errors|Table Input/, signature)
          t.notRegex(readFileSync(join(directory, `${signature}.dsl`), 'utf8'), /ACPI Error|Invalid/)
        }
      } finally {
        rmSync(directory, { recursive: true })
      }
    })
  }
}

test('package lengths count themselves and grow with the content', t => {
  t.deepEqual([...packageLength(62)], [63])
  t.deepEqual([...packageLength(63)], [0x41, 0x04])
  fc.assert(
    fc.property(fc.integer({ min: 0, max: (1 << 20) - 8 }), content => {
      const bytes = packageLength(content)
      const lead = bytes[0] ?? 0
      const extra = lead >> 6
      const value =
        extra === 0
          ? lead
          : [...bytes.subarray(1)].reduce((sum, byte, index) => sum + byte * 2 ** (4 + 8 * index), lead & 0xf)
      return bytes.length === extra + 1 && value === content + bytes.length
    }),
  )
  t.throws(() => packageLength(1 << 28))
})

test('names are padded, paths get their prefixes and what is no name is refused', t => {
  t.is(Buffer.from(namePath('\\_SB')).toString('latin1'), '\\_SB_')
  t.is(Buffer.from(namePath('\\_SB.PWRB')).toString('latin1'), '\\\x2e_SB_PWRB')
  t.is(Buffer.from(namePath('A.B.C')).toString('latin1'), '\x2f\x03A___B___C___')
  for (const wrong of ['', 'TOOLONG', 'a', '1ABC', 'A..B']) t.throws(() => namePath(wrong))
})

test('integers take the shortest form and EISA ids are compressed', t => {
  t.deepEqual(
    [0, 1, 0xff, 0x100, 0x1_0000, 2 ** 32].map(value => integer(value).length),
    [1, 1, 2, 3, 5, 9],
  )
  t.deepEqual([...eisaId('PNP0A08')], [0x0c, 0x41, 0xd0, 0x0a, 0x08])
})

test('tables that do not fit are refused', t => {
  t.throws(() => placeTables({ ...description(254, 1), end: 0xa1000 }), { code: 'ERR_RESOURCE_EXHAUSTED' })
})
