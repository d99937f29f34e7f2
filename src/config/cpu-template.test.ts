import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import fc from 'fast-check'
import { type CpuTemplate, parseCpuTemplate, readCpuTemplate } from './cpu-template.ts'

const example = {
  kvm_capabilities: ['!56', '171'],
  cpuid_modifiers: [
    {
      ...{ leaf: '0x1', subleaf: '0x0', flags: 0 },
      modifiers: [{ register: 'eax', bitmap: '0bxxxx000000000011xx00011011110010' }],
    },
  ],
  msr_modifiers: [{ addr: '0x10a', bitmap: `0b1${'x'.repeat(59)}_0001` }],
}

const parsed: CpuTemplate = {
  kvmCapabilities: [171],
  cpuid: [{ leaf: 1, subleaf: 0, register: 'eax', mask: 0x0fff_3fff, value: 0x0003_06f2 }],
  msrs: [{ index: 0x10a, mask: (1n << 63n) | 15n, value: (1n << 63n) | 1n }],
}

test('a template of Firecracker’s documentation is understood', t => {
  t.deepEqual(parseCpuTemplate(JSON.stringify(example), 'x86_64'), parsed)
  t.deepEqual(parseCpuTemplate('{}', 'x86_64'), { kvmCapabilities: [], cpuid: [], msrs: [] })
})

test('a short bitmap leaves the upper bits as they are, and needs no prefix', t => {
  const of = (bitmap: string) =>
    parseCpuTemplate(JSON.stringify({ msr_modifiers: [{ addr: '0b11', bitmap }] }), 'x86_64')
  t.deepEqual(of('0b101').msrs, [{ index: 3, mask: 7n, value: 5n }])
  t.deepEqual(of('1_x0').msrs, [{ index: 3, mask: 5n, value: 4n }])
  t.deepEqual(of('0bx').msrs, [{ index: 3, mask: 0n, value: 0n }])
})

test('every bitmap says of each bit what becomes of it', t => {
  const digits = fc.array(fc.constantFrom('0', '1', 'x'), { minLength: 1, maxLength: 64 })
  fc.assert(
    fc.property(digits, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (each, before) => {
      const text = JSON.stringify({ msr_modifiers: [{ addr: '0x10a', bitmap: `0b${each.join('')}` }] })
      const [{ mask, value } = { mask: 0n, value: 0n }] = parseCpuTemplate(text, 'x86_64').msrs
      const after = (before & ~mask) | (value & mask)
      const wanted = before.toString(2).padStart(64, '0').split('')
      for (const [place, digit] of each.entries()) if (digit !== 'x') wanted[64 - each.length + place] = digit
      return after === BigInt(`0b${wanted.join('')}`)
    }),
  )
  t.pass()
})

test('what cannot be understood is said in one line, with its key', t => {
  const leaf = { leaf: '0x7', subleaf: '0x0', flags: 1, modifiers: [] }
  const bits = (bitmap: string) => ({ cpuid_modifiers: [{ ...leaf, modifiers: [{ register: 'ebx', bitmap }] }] })
  const notBits = 'cpuid_modifiers.modifiers.bitmap: is not like "0bxx01", of at most 32 bits'
  const cases: readonly (readonly [unknown, string])[] = [
    [[], 'must be of type object'],
    [{ cpuid: [] }, 'unknown key cpuid'],
    [{ cpuid_modifiers: [{ ...leaf, leaf: 7 }] }, 'cpuid_modifiers.leaf: must be of type string'],
    [{ cpuid_modifiers: [{ ...leaf, leaf: '7' }] }, 'cpuid_modifiers.leaf: is not like "0x7" or "0b111"'],
    [{ cpuid_modifiers: [{ ...leaf, leaf: '0x123456789' }] }, 'cpuid_modifiers.leaf: is not like "0x7" or "0b111"'],
    [{ cpuid_modifiers: [{ ...leaf, flags: undefined }] }, 'cpuid_modifiers.flags: is missing'],
    [
      { cpuid_modifiers: [{ ...leaf, modifiers: [{ register: 'rax' }] }] },
      'cpuid_modifiers.modifiers.register: must be one of eax, ebx, ecx, edx',
    ],
    [bits(`0b${'x'.repeat(33)}`), notBits],
    [bits('0b2'), notBits],
    [bits('0b'), notBits],
    [bits('_'), notBits],
    [{ kvm_capabilities: ['-1'] }, 'kvm_capabilities: is not like "171" or "!171"'],
    [{ msr_modifiers: Array(5000).fill({ addr: '0x1', bitmap: '0' }) }, 'msr_modifiers: must be at most 4096'],
    [{ vcpu_features: [{ index: 0, bitmap: '0b1' }] }, 'vcpu_features: is for AArch64 machines only'],
    [{ reg_modifiers: [{ addr: '0x603000000013c020', bitmap: '0b1' }] }, 'reg_modifiers: is for AArch64 machines only'],
  ]
  for (const [value, message] of cases) {
    t.throws(() => parseCpuTemplate(JSON.stringify(value), 'x86_64'), { instanceOf: TypeError, message })
  }
  t.throws(() => parseCpuTemplate('{', 'x86_64'), { message: 'is not JSON' })
  const message = 'cpuid_modifiers: is for x86-64 machines only'
  t.throws(() => parseCpuTemplate(JSON.stringify(example), 'aarch64'), { message })
})

test('whatever the text is, a template comes out or a reason', t => {
  const isJudged = (text: string) => {
    try {
      return parseCpuTemplate(text, 'x86_64').cpuid.every(({ mask, value }) => mask >= value && mask <= 0xffff_ffff)
    } catch (error) {
      return error instanceof TypeError && !error.message.includes('\n')
    }
  }
  const whole = JSON.stringify(example)
  const flips = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.string({ minLength: 1, maxLength: 1 })), {
    minLength: 1,
  })
  fc.assert(
    fc.property(flips, each => {
      const letters = whole.split('')
      for (const [place, letter] of each) letters[place] = letter
      return isJudged(letters.join(''))
    }),
    { numRuns: 1_000 },
  )
  fc.assert(fc.property(fc.jsonValue(), value => isJudged(JSON.stringify(value))))
  t.pass()
})

test('a file that is none, or too large, is refused with its name', async t => {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-template-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  const path = join(place, 'one.json')
  const refused = (reason: string, file = path) =>
    t.throwsAsync(readCpuTemplate(file, 'x86_64'), {
      code: 'ERR_CPUS',
      message: `--cpus: template: ${file}: ${reason}`,
    })
  await refused('no such file or directory')
  await refused('is not a file', place)
  writeFileSync(path, '{"cpuid_modifiers":7}')
  await refused('cpuid_modifiers: must be of type array')
  truncateSync(path, 1024 * 1024 + 1)
  await refused('has 1048577 bytes, at most 1048576 are read')
  writeFileSync(path, JSON.stringify(example))
  t.deepEqual(await readCpuTemplate(path, 'x86_64'), parsed)
})
