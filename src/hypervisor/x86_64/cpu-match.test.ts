import test from 'ava'
import fc from 'fast-check'
import { x86Cpu } from './cpu-fingerprint.ts'
import { cpuObstacles, type X86Host } from './cpu-match.ts'
import type { X86Cpu } from './cpu-schema.ts'
import type { CpuidEntry } from './cpuid/entry.ts'
import { featureNames, featureWords } from './cpuid/feature-names.ts'
import { guestCpuid } from './cpuid/guest-cpuid.ts'
import { amdHost, intelHost } from './cpuid/testing/hosts.ts'
import { flatTopology } from './cpuid/topology.ts'

const archCapabilities = 0x10a
const secondaryControls = 0x48b

const xeon: X86Host = {
  cpuid: intelHost,
  msrs: new Map([
    [archCapabilities, 0x8000_0069n],
    [secondaryControls, 0x00ff_0000_0000_0001n],
  ]),
  ...{ tscKilohertz: 2_400_000, scalesTsc: false },
}
const epyc: X86Host = { cpuid: amdHost, msrs: new Map(), tscKilohertz: 2_596_128, scalesTsc: false }

/** That a guest has which a host was asked to give everything to. */
function cpuOn(host: X86Host, vcpus = 1): X86Cpu {
  const cpuid = guestCpuid(host.cpuid, 0, {
    ...{ topology: flatTopology(vcpus), maximumPhysicalBits: 46, nested: true, tscKilohertz: host.tscKilohertz },
    amx: host === xeon,
  })
  return x86Cpu({ cpuid, msrs: host.msrs, tscKilohertz: host.tscKilohertz })
}

/** The host without bits, or with other ones. */
function changed(host: X86Host, leaf: number, subleaf: number, change: (entry: CpuidEntry) => Partial<CpuidEntry>) {
  const cpuid = host.cpuid.map(each => {
    return each.leaf === leaf && each.subleaf === subleaf ? { ...each, ...change(each) } : each
  })
  return { ...host, cpuid }
}

test('a guest goes on where it was, whatever its topology', t => {
  for (const host of [xeon, epyc])
    for (const vcpus of [1, 2, 254]) t.deepEqual(cpuObstacles(cpuOn(host, vcpus), host), [])
})

test('a fingerprint says what the CPU is', t => {
  const { vendor, family, model, stepping, physicalAddressBits, xsave, cpuid, msrs } = cpuOn(xeon)
  t.deepEqual([vendor, family, model, stepping, physicalAddressBits], ['GenuineIntel', 6, 143, 8, 46])
  t.is(xsave.sizeBytes, 0x2b00)
  t.deepEqual(xsave.components[0], { component: 2, offsetBytes: 0x240, sizeBytes: 0x100 })
  t.is(cpuid['0x7.0.ebx'], '0xf1bf07eb')
  t.deepEqual(msrs, { '0x10a': '0x80000069', '0x48b': '0xff000000000001' })
  const amd = cpuOn(epyc)
  t.deepEqual([amd.vendor, amd.family, amd.model, amd.stepping], ['AuthenticAMD', 25, 17, 1])
  t.deepEqual(amd.msrs, {})
})

test('a CPU without the virtualization of Intel has no MSRs of it', t => {
  const cpuid = guestCpuid(intelHost, 0, {
    ...{ topology: flatTopology(1), maximumPhysicalBits: 46, nested: false, tscKilohertz: undefined, amx: false },
  })
  t.deepEqual(Object.keys(x86Cpu({ ...xeon, cpuid }).msrs), ['0x10a'])
})

test('everything that is missing is named, at once', t => {
  const cpu = cpuOn(xeon)
  let host = changed(xeon, 0x7, 0, ({ ebx, ecx }) => ({ ebx: ebx & ~(1 << 16), ecx: ecx & ~(1 << 2) }))
  host = changed(host, 0x8000_0008, 0, () => ({ eax: 0x0030_3027 }))
  const less = {
    ...host,
    tscKilohertz: 2_100_000,
    msrs: new Map([
      [archCapabilities, 0x48n],
      [secondaryControls, 3n],
    ]),
  }
  t.deepEqual(cpuObstacles(cpu, less), [
    'avx512f, umip, rdcl_no, mds_no, arch_capabilities bit 31, vmx_secondary bit 1, ' +
      [16, 17, 18, 19, 20, 21, 22, 23].map(bit => `vmx_secondary bit ${bit}`).join(', '),
    'physical address bits 46, this host has 39',
    'TSC 2.4 GHz, this host has 2.1 GHz and no other',
  ])
})

test('a host that has more is no obstacle', t => {
  const cpu = cpuOn(changed(xeon, 0x7, 0, () => ({ ebx: 0, ecx: 0 })))
  t.deepEqual(cpuObstacles(cpu, xeon), [])
  const more = new Map([
    [archCapabilities, 0xffff_ffffn],
    [secondaryControls, 0xffff_ffff_0000_0000n],
  ])
  t.deepEqual(cpuObstacles(cpuOn(xeon), { ...xeon, msrs: more }), [])
})

test('weaknesses that a guest knows of may be gone', t => {
  const weak = { ...xeon, msrs: new Map([[archCapabilities, (1n << 2n) | (1n << 19n)]]) }
  t.deepEqual(cpuObstacles(cpuOn(weak), { ...xeon, msrs: new Map() }), [])
})

test('another vendor is said, and not all that comes of it', t => {
  t.deepEqual(cpuObstacles(cpuOn(xeon), epyc), ["it is of GenuineIntel, this host's of AuthenticAMD"])
})

test('a counter has another rate only where the host can scale it, or by a hair', t => {
  const cpu = cpuOn(xeon)
  const at = (tscKilohertz: number, scalesTsc = false) => cpuObstacles(cpu, { ...xeon, tscKilohertz, scalesTsc })
  t.deepEqual(at(3_000_000, true), [])
  t.deepEqual(at(2_400_500), [])
  t.deepEqual(at(2_401_000), ['TSC 2.4 GHz, this host has 2.401 GHz and no other'])
  t.deepEqual(at(0), [], 'it cannot tell')
  const { tscKilohertz, ...untold } = cpu
  t.deepEqual(cpuObstacles(untold, { ...xeon, tscKilohertz: 1 }), [])
})

test('state of extensions that is elsewhere is an obstacle, and counters that are fewer', t => {
  const moved = changed(xeon, 0xd, 9, () => ({ ebx: 832 }))
  t.deepEqual(cpuObstacles(cpuOn(xeon), moved), ['xsave:pkru at byte 2688, this host has it at 832'])
  const counts = { 'performance monitoring version': 2 }
  t.deepEqual(cpuObstacles({ ...cpuOn(xeon), counts }, xeon), ['performance monitoring version 2, this host has 0'])
  t.deepEqual(cpuObstacles({ ...cpuOn(xeon), counts: { constructor: 1 } }, xeon).length, 1)
})

test('each feature of a guest that a host loses is named, and no other', t => {
  const cpu = cpuOn(xeon)
  const bits = featureWords.flatMap(({ name, leaf, subleaf, register }) => {
    const value = Number(cpu.cpuid[name] ?? 0)
    return Array.from({ length: 32 }, (_, bit) => ({ name, leaf, subleaf, register, bit })).filter(
      ({ bit }) => (value & (1 << bit)) !== 0,
    )
  })
  // What the machine makes up by itself it gives to every guest.
  const own = ['ht', 'osxsave', 'ospke', 'x2apic', 'tsc_deadline_timer', 'hypervisor', 'mtrr', 'cmp_legacy', 'topoext']
  fc.assert(
    fc.property(fc.constantFrom(...bits), ({ name, leaf, subleaf, register, bit }) => {
      const poorer = changed(xeon, leaf, subleaf, entry => ({ [register]: (entry[register] & ~(1 << bit)) >>> 0 }))
      const [feature = ''] = featureNames(name, 1 << bit)
      const expected = own.includes(feature) && name !== '0x80000001.0.edx' ? [] : [feature]
      t.deepEqual(cpuObstacles(cpu, poorer), expected)
    }),
  )
})
