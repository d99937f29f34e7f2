import { TsvmmError } from '../../../util/errors.ts'

/** Threads, cores, dies and packages; their product is the largest number of vCPUs. */
export interface CpuTopology {
  readonly threadsPerCore: number
  readonly coresPerDie: number
  readonly diesPerPackage: number
  readonly packages: number
}

/** Where in an APIC id the bit fields of the levels begin. */
export interface TopologyShifts {
  readonly core: number
  readonly die: number
  readonly package: number
}

/** The ids of 8 bits that interrupts can be sent to; 255 means all CPUs (Intel SDM Vol. 3A §11.6.2.1). */
const highestApicId = 254

/** What a machine has whose owner asks for nothing: one package of cores with one thread each. */
export function flatTopology(vcpus: number): CpuTopology {
  return { threadsPerCore: 1, coresPerDie: vcpus, diesPerPackage: 1, packages: 1 }
}

/** vCPUs that share a package. */
export function threadsPerPackage(topology: CpuTopology): number {
  return topology.threadsPerCore * topology.coresPerDie * topology.diesPerPackage
}

export function shiftsOf(topology: CpuTopology): TopologyShifts {
  const core = bitsFor(topology.threadsPerCore)
  const die = core + bitsFor(topology.coresPerDie)
  return { core, die, package: die + bitsFor(topology.diesPerPackage) }
}

function bitsFor(count: number): number {
  return count <= 1 ? 0 : 32 - Math.clz32(count - 1)
}

/** The APIC id of a vCPU: each level of the topology has a bit field of its own (Intel SDM Vol. 3A §9.9.1). */
export function apicIdOf(index: number, topology: CpuTopology): number {
  const shifts = shiftsOf(topology)
  const { threadsPerCore, coresPerDie, diesPerPackage } = topology
  const thread = index % threadsPerCore
  const core = Math.floor(index / threadsPerCore) % coresPerDie
  const die = Math.floor(index / (threadsPerCore * coresPerDie)) % diesPerPackage
  const packageIndex = Math.floor(index / threadsPerPackage(topology))
  return thread | (core << shifts.core) | (die << shifts.die) | (packageIndex << shifts.package)
}

/**
 * The APIC ids of vCPUs 0 to `vcpus` - 1. Throws ERR_CPUS where the topology has not so many CPUs, or its ids, which are
 * sparse where a level's count is not a power of two, do not fit into 8 bits.
 */
export function apicIdsOf(vcpus: number, topology: CpuTopology): number[] {
  const room = threadsPerPackage(topology) * topology.packages
  if (vcpus > room) throw new TsvmmError('ERR_CPUS', { reason: `topology: room for ${room} vCPUs, not ${vcpus}` })
  const ids = Array.from({ length: vcpus }, (_, index) => apicIdOf(index, topology))
  const highest = ids.at(-1) ?? 0
  if (highest > highestApicId) {
    const reason = `the APIC id of vCPU ${vcpus - 1} would be ${highest}; at most ${highestApicId} is possible`
    throw new TsvmmError('ERR_CPUS', { reason })
  }
  return ids
}
