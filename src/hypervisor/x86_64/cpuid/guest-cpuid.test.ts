import test from 'ava'
import fc from 'fast-check'
import { type CpuidEntry, decodeCpuid, encodeCpuid } from './entry.ts'
import { type CpuidOptions, guestCpuid, hasInvariantTsc, physicalBits } from './guest-cpuid.ts'
import { amdHost, intelHost } from './testing/hosts.ts'
import { flatTopology } from './topology.ts'

const options: CpuidOptions = {
  topology: flatTopology(1),
  maximumPhysicalBits: 46,
  amx: false,
  nested: true,
  tscKilohertz: undefined,
}

function find(entries: readonly CpuidEntry[], leaf: number, subleaf = 0): CpuidEntry {
  const entry = entries.find(each => each.leaf === leaf && each.subleaf === subleaf)
  if (entry === undefined) throw new Error(`no leaf 0x${leaf.toString(16)}.${subleaf}`)
  return entry
}

const has = (entries: readonly CpuidEntry[], leaf: number) => entries.some(entry => entry.leaf === leaf)

test('entries are KVM structures of 40 bytes', t => {
  const bytes = encodeCpuid(amdHost)
  t.is(bytes.length, amdHost.length * 40)
  t.deepEqual(decodeCpuid(bytes), [...amdHost])
})

test('nothing is offered that the host has not, save what KVM emulates', t => {
  const emulated = { ecx: (1 << 21) | (1 << 24) | (1 << 31), edx: (1 << 12) | (1 << 28) }
  for (const host of [amdHost, intelHost]) {
    const guest = guestCpuid(host, 0, { ...options, amx: host === intelHost })
    t.is((find(guest, 1).ecx & ~(find(host, 1).ecx | emulated.ecx)) >>> 0, 0)
    t.is((find(guest, 1).edx & ~(find(host, 1).edx | emulated.edx)) >>> 0, 0)
    for (const register of ['ebx', 'ecx', 'edx'] as const) {
      t.is((find(guest, 7)[register] & ~find(host, 7)[register]) >>> 0, 0)
    }
    t.is((find(guest, 0x8000_0001).edx & ~find(host, 0x8000_0001).edx) >>> 0, 0)
  }
})

test('the host table is left as it was', t => {
  const before = structuredClone(intelHost)
  guestCpuid(intelHost, 3, { ...options, topology: flatTopology(8), nested: false })
  t.deepEqual(intelHost, before)
})

test('all registers are unsigned, whatever bits are set', t => {
  for (const { eax, ebx, ecx, edx } of guestCpuid(intelHost, 253, { ...options, topology: flatTopology(254) })) {
    t.true([eax, ebx, ecx, edx].every(register => register >= 0 && register <= 0xffff_ffff))
  }
})

test('leaf 1 has the APIC id and the count, also with the most vCPUs', t => {
  const of = (index: number, vcpus: number, host = intelHost) =>
    find(guestCpuid(host, index, { ...options, topology: flatTopology(vcpus) }), 1).ebx
  t.is(of(0, 1), 0x00010800)
  t.is(of(2, 4), 0x02040800)
  t.is(of(5, 6), 0x05080800)
  t.is(of(5, 6, amdHost), 0x05060800)
  t.is(of(253, 254), 0xfdff0800)
})

test('a single CPU is not called one of several', t => {
  const flag = (vcpus: number) =>
    find(guestCpuid(intelHost, 0, { ...options, topology: flatTopology(vcpus) }), 1).edx & (1 << 28)
  t.is(flag(1), 0)
  t.not(flag(2), 0)
})

test('leaf 0xb has threads and cores, the end, and the id in each', t => {
  const topology = { threadsPerCore: 2, coresPerDie: 3, diesPerPackage: 1, packages: 2 }
  const guest = guestCpuid(intelHost, 7, { ...options, topology })
  const registers = [0, 1, 2].map(subleaf => {
    const { eax, ebx, ecx, edx } = find(guest, 0xb, subleaf)
    return [eax, ebx, ecx, edx]
  })
  t.deepEqual(registers, [
    [1, 2, 0x100, 0b1001],
    [3, 6, 0x201, 0b1001],
    [0, 0, 2, 0b1001],
  ])
})

test('dies are told apart in leaf 0x1f, where the CPU has it', t => {
  const topology = { threadsPerCore: 1, coresPerDie: 2, diesPerPackage: 2, packages: 1 }
  const guest = guestCpuid(intelHost, 3, { ...options, topology })
  t.deepEqual(
    [0, 1, 2, 3].map(subleaf => find(guest, 0x1f, subleaf).ecx),
    [0x100, 0x201, 0x502, 3],
  )
  t.deepEqual(
    [0, 1, 2].map(subleaf => find(guest, 0x1f, subleaf).eax),
    [0, 1, 2],
  )
  t.false(has(guestCpuid(amdHost, 3, { ...options, topology }), 0x1f))
})

test('an old host is made to know leaf 0xb', t => {
  const old = amdHost
    .filter(entry => entry.leaf !== 0xb)
    .map(entry => (entry.leaf === 0 ? { ...entry, eax: 7 } : entry))
  const guest = guestCpuid(old, 1, { ...options, topology: flatTopology(2) })
  t.is(find(guest, 0).eax, 0xb)
  t.is(find(guest, 0xb, 1).edx, 1)
})

test('caches are shared within a core or a die, by no more CPUs than on the host', t => {
  const sharing = (host: readonly CpuidEntry[], leaf: number, topology: CpuidOptions['topology']) => {
    const guest = guestCpuid(host, 0, { ...options, topology })
    return [0, 1, 2, 3].map(subleaf => (find(guest, leaf, subleaf).eax >>> 14) & 0xfff)
  }
  const four = { threadsPerCore: 2, coresPerDie: 2, diesPerPackage: 2, packages: 1 }
  t.deepEqual(sharing(intelHost, 4, flatTopology(4)), [0, 0, 0, 3])
  t.deepEqual(sharing(intelHost, 4, four), [1, 1, 1, 3])
  t.deepEqual(sharing(intelHost, 4, flatTopology(128)), [0, 0, 0, 63])
  t.deepEqual(sharing(amdHost, 0x8000_001d, four), [0, 0, 0, 1])
})

test('leaf 4 has the cores of a package, saturated', t => {
  const cores = (vcpus: number) =>
    find(guestCpuid(intelHost, 0, { ...options, topology: flatTopology(vcpus) }), 4, 0).eax >>> 26
  t.deepEqual([1, 2, 6, 64, 254].map(cores), [0, 1, 7, 63, 63])
  t.is(find(guestCpuid(intelHost, 0, options), 4, 4).eax, 0)
})

test('AMD guests learn ids, cores and nodes in their own leaves', t => {
  const topology = { threadsPerCore: 2, coresPerDie: 2, diesPerPackage: 2, packages: 1 }
  const guest = guestCpuid(amdHost, 5, { ...options, topology })
  t.deepEqual(find(guest, 0x8000_001e), {
    ...{ leaf: 0x8000_001e, subleaf: 0, flags: 0 },
    ...{ eax: 5, ebx: 0x102, ecx: 0x101, edx: 0 },
  })
  t.is(find(guest, 0x8000_0008).ecx, 0x3007)
  t.is(find(guest, 0x8000_0001).ecx & 0x40_0002, 0x40_0002)
  t.is(find(guestCpuid(amdHost, 0, options), 0x8000_0001).ecx & 0x2, 0)
})

test('Intel guests have nothing in the leaves of AMD', t => {
  const guest = guestCpuid(intelHost, 1, { ...options, topology: flatTopology(4) })
  t.is(find(guest, 0x8000_0008).ecx, 0)
  t.false(has(guest, 0x8000_001e))
})

test('every vCPU is told apart, whatever the topology and the maker', t => {
  const count = fc.integer({ min: 1, max: 3 })
  const property = fc.property(count, count, count, count, (threadsPerCore, coresPerDie, diesPerPackage, packages) => {
    const topology = { threadsPerCore, coresPerDie, diesPerPackage, packages }
    const vcpus = threadsPerCore * coresPerDie * diesPerPackage * packages
    for (const host of [amdHost, intelHost]) {
      const tables = Array.from({ length: vcpus }, (_, index) => guestCpuid(host, index, { ...options, topology }))
      const ids = tables.map(guest => find(guest, 0xb).edx)
      t.is(new Set(ids).size, vcpus)
      t.deepEqual(
        tables.map(guest => find(guest, 1).ebx >>> 24),
        ids,
      )
      t.true(tables.every(guest => guest.length <= 256))
    }
  })
  fc.assert(property, { numRuns: 20 })
})

test('from 1 to 254 vCPUs every way to ask gives the same id and count', t => {
  for (let vcpus = 1; vcpus <= 254; vcpus += 1) {
    const index = vcpus - 1
    const ids = 2 ** Math.ceil(Math.log2(vcpus))
    for (const host of [amdHost, intelHost]) {
      const guest = guestCpuid(host, index, { ...options, topology: flatTopology(vcpus) })
      t.is(find(guest, 0x1).ebx >>> 24, index)
      t.is((find(guest, 0x1).ebx >>> 16) & 0xff, Math.min(host === amdHost ? vcpus : ids, 255))
      t.like(find(guest, 0xb, 1), { eax: Math.log2(ids), ebx: vcpus, edx: index })
      t.is(new Set(guest.map(({ leaf, subleaf }) => `${leaf}.${subleaf}`)).size, guest.length)
    }
    const intel = guestCpuid(intelHost, index, { ...options, topology: flatTopology(vcpus) })
    t.is(find(intel, 0x4, 0).eax >>> 26, Math.min(ids - 1, 63))
    t.like(find(intel, 0x1f, 2), { eax: Math.log2(ids), ebx: vcpus, edx: index })
    const amd = guestCpuid(amdHost, index, { ...options, topology: flatTopology(vcpus) })
    t.is(find(amd, 0x8000_0008).ecx, (Math.log2(ids) << 12) | (vcpus - 1))
    t.like(find(amd, 0x8000_001e), { eax: index, ebx: index })
  }
})

test('address bits are what host and owner allow', t => {
  t.is(physicalBits(amdHost, 46), 46)
  t.is(physicalBits(amdHost, 52), 48)
  // 52 on the CPU, of which nested paging maps 48.
  t.is(physicalBits(intelHost, 52), 48)
  t.is(physicalBits([], 46), 36)
  t.is(find(guestCpuid(intelHost, 0, options), 0x8000_0008).eax, 0x002e392e)
})

test('nested=off hides both makers’ virtualization', t => {
  t.not(find(guestCpuid(intelHost, 0, options), 1).ecx & (1 << 5), 0)
  t.is(find(guestCpuid(intelHost, 0, { ...options, nested: false }), 1).ecx & (1 << 5), 0)
  const amd = amdHost.map(entry => (entry.leaf === 0x8000_0001 ? { ...entry, ecx: entry.ecx | 4 } : entry))
  const svm = { ...find(amd, 0), leaf: 0x8000_000a }
  t.is(find(guestCpuid([...amd, svm], 0, options), 0x8000_0001).ecx & 4, 4)
  const without = guestCpuid([...amd, svm], 0, { ...options, nested: false })
  t.is(find(without, 0x8000_0001).ecx & 4, 0)
  t.false(has(without, 0x8000_000a))
})

test('tile registers are gone unless asked for, and the save area shrinks', t => {
  const guest = guestCpuid(intelHost, 0, options)
  t.is(find(guest, 7).edx & 0x0340_0000, 0)
  t.is(find(guest, 7, 1).eax & (1 << 21), 0)
  t.false(has(guest, 0x1d))
  t.is(find(guest, 0xd).eax, 0x2e7)
  t.is(find(guest, 0xd).ecx, 0xa88)
  t.deepEqual(
    guest.filter(entry => entry.leaf === 0xd).map(entry => entry.subleaf),
    [0, 1, 2, 5, 6, 7, 9],
  )
  const granted = guestCpuid(intelHost, 0, { ...options, amx: true })
  t.is(find(granted, 7).edx & 0x0340_0000, 0x0340_0000)
  t.is(find(granted, 0xd).ecx, 0x2b00)
})

test('tile registers that the host has not are refused', t => {
  const error = { code: 'ERR_CPUS' }
  t.throws(() => guestCpuid(amdHost, 0, { ...options, amx: true }), { ...error, message: /amx: this host has no/ })
  const forbidden = intelHost.map(entry =>
    entry.leaf === 0xd && entry.subleaf === 0 ? { ...entry, eax: 0x2e7 } : entry,
  )
  t.throws(() => guestCpuid(forbidden, 0, { ...options, amx: true }), {
    ...error,
    message: /amx: this process may not/,
  })
})

test('enclaves are hidden', t => {
  const guest = guestCpuid(intelHost, 0, options)
  t.is(find(guest, 7).ebx & 4, 0)
  t.is(find(guest, 7).ecx & (1 << 30), 0)
  t.false(has(guest, 0x12))
})

test('the guest is told to run on KVM, without promises about time', t => {
  const guest = guestCpuid(intelHost, 0, options)
  t.is(find(guest, 0x4000_0000).ebx, 0x4b4d564b)
  t.is(find(guest, 0x4000_0001).eax, 0x01007efb)
  t.is(find(guest, 0x4000_0001).edx, 0)
})

test('known frequencies are told beside KVM’s features', t => {
  const guest = guestCpuid(amdHost, 0, { ...options, tscKilohertz: 2_596_128 })
  t.is(find(guest, 0x4000_0000).eax, 0x4000_0010)
  t.is(find(guest, 0x4000_0010).eax, 2_596_128)
  t.is(find(guest, 0x4000_0010).ebx, 1_000_000)
  t.false(has(guestCpuid(amdHost, 0, options), 0x4000_0010))
})

test('a constant time stamp counter is found where there is one', t => {
  t.true(hasInvariantTsc(amdHost))
  t.false(hasInvariantTsc(amdHost.filter(entry => entry.leaf !== 0x8000_0007)))
})
