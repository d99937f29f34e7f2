import { readFileSync } from 'node:fs'
import test from 'ava'
import fc from 'fast-check'
import { parseCpuTemplate } from '../../../config/cpu-template.ts'
import { CpuidTable } from './entry.ts'
import { featureNames, featureWords } from './feature-names.ts'
import { guestCpuid } from './guest-cpuid.ts'
import { type CpuidModifier, modifyCpuid } from './modifiers.ts'
import { amdHost, intelHost } from './testing/hosts.ts'
import { flatTopology } from './topology.ts'

const word = { leaf: 0x7, subleaf: 0, register: 'ebx' } as const
const avx2 = 1 << 5
const rdseed = 1 << 18

test('what is masked is gone, the rest is as it was', t => {
  const table = new CpuidTable(intelHost)
  const before = new CpuidTable(intelHost)
  modifyCpuid(table, [{ ...word, mask: avx2 | rdseed, value: 0 }])
  const ebx = ((before.get(0x7)?.ebx ?? 0) & ~(avx2 | rdseed)) >>> 0
  before.change(0x7, 0, () => ({ ebx }))
  t.deepEqual(table.entries(), before.entries())
})

test('state that is taken away needs no room: the area shrinks', t => {
  const table = new CpuidTable(amdHost)
  modifyCpuid(table, [{ leaf: 0xd, subleaf: 0, register: 'eax', mask: 0xe0, value: 0 }])
  t.is(table.get(0xd)?.eax, 0x7)
  t.is(table.get(0xd)?.ecx, 832)
})

test('what the host lacks is refused by name, all of it at once', t => {
  const mpx = 1 << 14
  const svm = { leaf: 0x8000_0001, subleaf: 0, register: 'ecx', mask: 1 << 2, value: 1 << 2 } as const
  const ask = () => modifyCpuid(new CpuidTable(intelHost), [{ ...word, mask: avx2 | mpx, value: avx2 | mpx }, svm])
  t.throws(ask, { code: 'ERR_CPUS', message: '--cpus: template: it asks for mpx, svm, not there on this host' })
})

test('a leaf that is not there has no bits to take away, and none to give', t => {
  const table = new CpuidTable(amdHost)
  const nowhere = { leaf: 0x19, subleaf: 0, register: 'ebx', mask: 0xff } as const
  modifyCpuid(table, [{ ...nowhere, value: 0 }])
  t.deepEqual(table.entries(), [...amdHost])
  t.throws(() => modifyCpuid(table, [{ ...nowhere, value: 1 }]), { message: /it asks for leaf 0x19\.0, not there/ })
})

test('what is no feature can be any value: a model of another number', t => {
  const table = new CpuidTable(intelHost)
  modifyCpuid(table, [{ leaf: 0x1, subleaf: 0, register: 'eax', mask: -1 >>> 0, value: 0x000306f2 }])
  t.is(table.get(0x1)?.eax, 0x000306f2)
})

test('the guest is shown what is left; what is the machine’s own stays the machine’s own', t => {
  const modifiers: CpuidModifier[] = [
    { ...word, mask: avx2, value: 0 },
    { leaf: 0xb, subleaf: 0, register: 'edx', mask: -1 >>> 0, value: 77 },
  ]
  const options = { topology: flatTopology(4), maximumPhysicalBits: 46, amx: false, nested: true }
  const of = (given: object) => guestCpuid(intelHost, 2, { ...options, tscKilohertz: undefined, ...given })
  const guest = new CpuidTable(of({ modifiers }))
  const plain = new CpuidTable(of({}))
  t.is(guest.get(0x7)?.ebx, ((plain.get(0x7)?.ebx ?? 0) & ~avx2) >>> 0)
  t.is(guest.get(0xb)?.edx, 2)
})

test('whatever is masked, no feature is there that was not, and all bits of the mask have their value', t => {
  const modifier = fc
    .tuple(fc.constantFrom(...featureWords), fc.nat(0xffff_ffff), fc.nat(0xffff_ffff))
    .map(([{ leaf, subleaf, register }, mask, value]) => ({ leaf, subleaf, register, mask, value }))
  fc.assert(
    fc.property(fc.constantFrom(intelHost, amdHost), modifier, (host, each) => {
      const table = new CpuidTable(host)
      const before = table.get(each.leaf, each.subleaf)?.[each.register] ?? 0
      const isPossible = (each.mask & each.value & ~before) === 0
      if (!isPossible) return t.throws(() => modifyCpuid(table, [each]), { code: 'ERR_CPUS' }) !== undefined
      modifyCpuid(table, [each])
      const after = table.get(each.leaf, each.subleaf)?.[each.register] ?? 0
      return (after & ~before) === 0 && (after & each.mask) >>> 0 === (each.value & each.mask) >>> 0
    }),
  )
})

test('the example takes AVX-512 and AMX away, and nothing else', t => {
  const example = new URL('../../../../resources/cpu-templates/without-avx512.json', import.meta.url)
  const { cpuid } = parseCpuTemplate(readFileSync(example, 'utf8'), 'x86_64')
  const table = new CpuidTable(intelHost)
  modifyCpuid(table, cpuid)
  const gone = featureWords.flatMap(({ name, leaf, subleaf, register }) => {
    const before = new CpuidTable(intelHost).get(leaf, subleaf)?.[register] ?? 0
    return featureNames(name, before & ~(table.get(leaf, subleaf)?.[register] ?? 0))
  })
  t.true(gone.includes('avx512f') && gone.includes('amx_tile') && gone.includes('xsave:opmask'))
  t.deepEqual(
    gone.filter(name => !/avx512|amx|xsave:(opmask|zmm_hi256|hi16_zmm|tilecfg|tiledata)/.test(name)),
    [],
  )
  t.regex(featureNames('0x7.0.ebx', table.get(0x7)?.ebx ?? 0).join(' '), /^(?!.*avx512).*avx2/)
})
