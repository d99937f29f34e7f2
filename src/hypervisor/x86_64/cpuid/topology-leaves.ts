import { type CpuidTable, significantSubleaf } from './entry.ts'
import { apicIdOf, type CpuTopology, shiftsOf, type TopologyShifts, threadsPerPackage } from './topology.ts'

interface Place {
  readonly apicId: number
  readonly topology: CpuTopology
  readonly shifts: TopologyShifts
}

const extendedTopologyLeaf = 0xb
const diesTopologyLeaf = 0x1f
const levelTypes = { thread: 1, core: 2, die: 5 } as const

/** Tells vCPU `index` where it is among the others, in every way that guests look for it. */
export function describeTopology(table: CpuidTable, index: number, topology: CpuTopology, isAmd: boolean): void {
  const place = { apicId: apicIdOf(index, topology), topology, shifts: shiftsOf(topology) }
  describePackage(table, place, isAmd)
  describeCaches(table, 0x4, place)
  describeLevels(table, place)
  if (isAmd) describeAmd(table, place)
}

const hyperThreading = 1 << 28

/** Leaf 1: the id, and how many ids (AMD: CPUs) a package has, saturated (Intel SDM Vol. 2A, CPUID; AMD APM Vol. 3 §E.3.2). */
function describePackage(table: CpuidTable, { apicId, topology, shifts }: Place, isAmd: boolean): void {
  const perPackage = threadsPerPackage(topology)
  const count = Math.min(isAmd ? perPackage : 1 << shifts.package, 0xff)
  table.change(0x1, 0, ({ ebx, edx }) => ({
    ebx: (ebx & 0xffff) | (count << 16) | (apicId << 24),
    edx: perPackage > 1 ? edx | hyperThreading : edx & ~hyperThreading,
  }))
}

/**
 * The caches are the host's, but not who shares them: the first two levels belong to a core, the others to a die, and never
 * to more CPUs than on the host.
 */
function describeCaches(table: CpuidTable, leaf: number, { shifts }: Place): void {
  for (const { subleaf, eax } of table.subleaves(leaf)) {
    const type = eax & 0x1f
    if (type === 0) continue
    const level = (eax >>> 5) & 0x7
    const sharing = Math.min((eax >>> 14) & 0xfff, (1 << (level >= 3 ? shifts.die : shifts.core)) - 1)
    // Bits 31 to 26 are the cores of a package in leaf 4, and reserved in AMD's.
    const cores = leaf === 0x4 ? Math.min((1 << (shifts.package - shifts.core)) - 1, 0x3f) : 0
    table.change(leaf, subleaf, () => ({ eax: (eax & 0x3fff) | (sharing << 14) | (cores << 26) }))
  }
}

/** Leaves 0xb and 0x1f. x2APIC ids come from the former, so that it is there even if the host has none. */
function describeLevels(table: CpuidTable, place: Place): void {
  const { topology, shifts } = place
  const perPackage = threadsPerPackage(topology)
  table.change(0x0, 0, ({ eax }) => ({ eax: Math.max(eax, extendedTopologyLeaf) }))
  const threads = { type: levelTypes.thread, shift: shifts.core, processors: topology.threadsPerCore }
  // Leaf 0xb knows threads and cores only; 0x1f tells dies apart.
  const cores = { type: levelTypes.core, shift: shifts.package, processors: perPackage }
  putLevels(table, extendedTopologyLeaf, place.apicId, [threads, cores])
  table.remove(diesTopologyLeaf)
  if ((table.get(0x0)?.eax ?? 0) < diesTopologyLeaf) return
  const dieThreads = topology.threadsPerCore * topology.coresPerDie
  putLevels(table, diesTopologyLeaf, place.apicId, [
    threads,
    { type: levelTypes.core, shift: shifts.die, processors: dieThreads },
    { type: levelTypes.die, shift: shifts.package, processors: perPackage },
  ])
}

interface Level {
  readonly type: number
  /** Bits of an id below the next level. */
  readonly shift: number
  readonly processors: number
}

function putLevels(table: CpuidTable, leaf: number, apicId: number, levels: readonly Level[]): void {
  table.remove(leaf)
  const common = { leaf, flags: significantSubleaf, edx: apicId }
  for (const [subleaf, { type, shift, processors }] of levels.entries()) {
    table.put({ ...common, subleaf, eax: shift, ebx: processors, ecx: (type << 8) | subleaf })
  }
  table.put({ ...common, subleaf: levels.length, ecx: levels.length })
}

const legacyMultiCore = 1 << 1
const topologyExtensions = 1 << 22
const amdCacheLeaf = 0x8000_001d
const amdIdsLeaf = 0x8000_001e

/** AMD APM Vol. 3 §E.4.2, §E.4.7, §E.4.15 and §E.4.16. */
function describeAmd(table: CpuidTable, place: Place): void {
  const { apicId, topology, shifts } = place
  const perPackage = threadsPerPackage(topology)
  const hasExtensions = (table.get(0x8000_0000)?.eax ?? 0) >= amdIdsLeaf
  table.change(0x8000_0001, 0, ({ ecx }) => ({
    ecx:
      (ecx & ~(legacyMultiCore | topologyExtensions)) |
      (perPackage > 1 ? legacyMultiCore : 0) |
      (hasExtensions ? topologyExtensions : 0),
  }))
  table.change(0x8000_0008, 0, ({ ecx }) => ({
    ecx: (ecx & ~0xf0ff) | (shifts.package << 12) | (Math.min(perPackage, 256) - 1),
  }))
  describeCaches(table, amdCacheLeaf, place)
  if (!hasExtensions) return
  table.put({ leaf: amdIdsLeaf, ...amdIds(apicId, topology, shifts) })
}

function amdIds(apicId: number, topology: CpuTopology, shifts: TopologyShifts) {
  const nodesPerPackage = 1 << (shifts.package - shifts.die)
  return {
    eax: apicId,
    ebx: ((topology.threadsPerCore - 1) << 8) | (apicId >> shifts.core),
    // One, two and four nodes are defined, and eight fit.
    ecx: ((Math.min(nodesPerPackage, 8) - 1) << 8) | (apicId >> shifts.die),
  }
}
