import { type CpuidEntry, CpuidTable } from './entry.ts'
import { addEmulatedFeatures, removeAmx, removeEnclaves, removeVirtualization, requireAmx } from './features.ts'
import { type CpuidModifier, modifyCpuid } from './modifiers.ts'
import { addFrequencies, addKvmLeaves } from './paravirtual.ts'
import type { CpuTopology } from './topology.ts'
import { describeTopology } from './topology-leaves.ts'

export interface CpuidOptions {
  readonly topology: CpuTopology
  /** Address bits that the owner allows. */
  readonly maximumPhysicalBits: number
  /** Whether the guest gets the tile registers; refused where the host has none. */
  readonly amx: boolean
  /** Whether the guest may itself use virtualization. */
  readonly nested: boolean
  /** Of the vCPU's time stamp counter; undefined where it is not constant, see hasInvariantTsc(). */
  readonly tscKilohertz: number | undefined
  /** What the owner takes away, before the machine says what is its own: address bits, topology, frequencies. */
  readonly modifiers?: readonly CpuidModifier[]
}

/**
 * What CPUID answers on vCPU `index`. `host` is what the hypervisor supports, so that nothing is offered that the host has
 * not: that covers the invariant counter, too, which guests trust only if they see it. A machine that moves takes the
 * counter's rate along, and its CPUID is part of its state.
 * Throws ERR_CPUS where the owner wants what the host has not.
 */
export function guestCpuid(host: readonly CpuidEntry[], index: number, options: CpuidOptions): CpuidEntry[] {
  const table = new CpuidTable(host)
  addEmulatedFeatures(table)
  if (options.amx) requireAmx(table)
  else removeAmx(table)
  removeEnclaves(table)
  if (!options.nested) removeVirtualization(table)
  if (options.modifiers !== undefined) modifyCpuid(table, options.modifiers)
  limitAddresses(table, physicalBits(host, options.maximumPhysicalBits))
  describeTopology(table, index, options.topology, isAmd(table))
  addKvmLeaves(table)
  if (options.tscKilohertz !== undefined) addFrequencies(table, options.tscKilohertz)
  return table.entries()
}

/** Whether the host's time stamp counter runs at one rate, whatever the CPU does (Intel SDM Vol. 3B §18.17.1). */
export function hasInvariantTsc(host: readonly CpuidEntry[]): boolean {
  const invariant = 1 << 8
  return host.some(({ leaf, edx }) => leaf === 0x8000_0007 && (edx & invariant) !== 0)
}

const addressLeaf = 0x8000_0008
/** Of CPUs that do not say. */
const defaultPhysicalBits = 36

/** Address bits of the guest: what the host's CPU has, what its nested paging can map, and what the owner allows. */
export function physicalBits(host: readonly CpuidEntry[], maximum: number): number {
  const leaf = host.find(entry => entry.leaf === addressLeaf)
  if (leaf === undefined) return Math.min(maximum, defaultPhysicalBits)
  const cpu = leaf.eax & 0xff
  const mappable = (leaf.eax >>> 16) & 0xff
  return Math.min(maximum, cpu, mappable === 0 ? cpu : mappable)
}

function limitAddresses(table: CpuidTable, bits: number): void {
  table.change(addressLeaf, 0, ({ eax }) => ({ eax: (eax & 0xff00_ff00) | (bits << 16) | bits }))
}

/** Hygon's CPUs are AMD's in what matters here. */
function isAmd(table: CpuidTable): boolean {
  return ['AuthenticAMD', 'HygonGenuine'].includes(vendorOf(table))
}

/** Twelve letters; what cannot be printed is left out. */
export function vendorOf(table: CpuidTable): string {
  const { ebx = 0, edx = 0, ecx = 0 } = table.get(0x0) ?? {}
  return cpuidText([ebx, edx, ecx])
}

/** The text that registers hold, as far as it can be printed. */
export function cpuidText(registers: readonly number[]): string {
  const bytes = registers.flatMap(each => [each & 0xff, (each >>> 8) & 0xff, (each >>> 16) & 0xff, each >>> 24])
  return String.fromCharCode(...bytes.filter(byte => byte >= 0x20 && byte < 0x7f))
}
