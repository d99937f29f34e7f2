import { countsOf, type X86CpuSource, xsaveOf } from './cpu-fingerprint.ts'
import type { X86Cpu } from './cpu-schema.ts'
import { gigahertz } from './cpu-text.ts'
import { CpuidTable } from './cpuid/entry.ts'
import { featureNames, parseWordName } from './cpuid/feature-names.ts'
import { addEmulatedFeatures } from './cpuid/features.ts'
import { physicalBits, vendorOf } from './cpuid/guest-cpuid.ts'
import { missingInMsr } from './feature-msrs.ts'

/** What a host's hypervisor can give to guests. */
export interface X86Host extends X86CpuSource {
  /** The hypervisor can run a counter at another rate than the host's. */
  readonly scalesTsc: boolean
}

/**
 * Why a guest with `cpu` cannot go on on `host`: the names of features that are missing, and other things in words. What the
 * host has beyond them is no obstacle, and neither is another model of the same vendor.
 */
export function cpuObstacles(cpu: X86Cpu, host: X86Host): string[] {
  const table = new CpuidTable(host.cpuid)
  addEmulatedFeatures(table)
  const vendor = vendorOf(table)
  // The rest would be a list of everything.
  if (cpu.vendor !== vendor) return [`it is of ${cpu.vendor}, this host's of ${vendor}`]
  const missing = [...new Set([...missingFeatures(cpu, table), ...missingMsrs(cpu, host)])]
  return [
    ...(missing.length === 0 ? [] : [missing.join(', ')]),
    ...addressObstacles(cpu, host),
    ...countObstacles(cpu, table),
    ...xsaveObstacles(cpu, table),
    ...tscObstacles(cpu, host),
  ]
}

/**
 * Bits that are the machine's own doing: whether CPUs have siblings, which AMD says in two more ways, and what the guest has
 * turned on (OSXSAVE and OSPKE).
 */
const ownBits: Readonly<Record<string, number>> = {
  '0x1.0.edx': 1 << 28,
  '0x1.0.ecx': 1 << 27,
  '0x7.0.ecx': 1 << 4,
  '0x80000001.0.ecx': (1 << 1) | (1 << 22),
}

function missingFeatures({ cpuid }: X86Cpu, host: CpuidTable): string[] {
  return Object.entries(cpuid).flatMap(([name, wanted]) => {
    const word = parseWordName(name)
    if (word === undefined) return []
    const offered = host.get(word.leaf, word.subleaf)?.[word.register] ?? 0
    return featureNames(name, Number(wanted) & ~offered & ~(ownBits[name] ?? 0))
  })
}

function missingMsrs({ msrs }: X86Cpu, host: X86Host): string[] {
  return Object.entries(msrs).flatMap(([index, wanted]) => {
    return missingInMsr(Number(index), BigInt(wanted), host.msrs.get(Number(index)) ?? 0n)
  })
}

function addressObstacles({ physicalAddressBits }: X86Cpu, { cpuid }: X86Host): string[] {
  const bits = physicalBits(cpuid, physicalAddressBits)
  return bits < physicalAddressBits ? [`physical address bits ${physicalAddressBits}, this host has ${bits}`] : []
}

function countObstacles({ counts }: X86Cpu, host: CpuidTable): string[] {
  const offered = countsOf(host)
  return Object.entries(counts)
    .filter(([name, wanted]) => wanted > (Object.hasOwn(offered, name) ? (offered[name] ?? 0) : 0))
    .map(([name, wanted]) => `${name} ${wanted}, this host has ${offered[name] ?? 0}`)
}

/** Of what the host has at all: what it has not is missing by name. */
function xsaveObstacles({ xsave }: X86Cpu, host: CpuidTable): string[] {
  const offered = new Map(xsaveOf(host).components.map(each => [each.component, each]))
  return xsave.components.flatMap(({ component, offsetBytes, sizeBytes }) => {
    const here = offered.get(component)
    if (here === undefined || (here.offsetBytes === offsetBytes && here.sizeBytes === sizeBytes)) return []
    const [name] = featureNames('0xd.0.eax', 1 << component)
    return [`${name} at byte ${offsetBytes}, this host has it at ${here.offsetBytes}`]
  })
}

/** KVM takes a rate that is as near as this for the host's own (its parameter tsc_tolerance_ppm). */
const toleranceInMillionths = 250

function tscObstacles({ tscKilohertz }: X86Cpu, host: X86Host): string[] {
  if (tscKilohertz === undefined || host.scalesTsc || host.tscKilohertz === 0) return []
  const difference = Math.abs(tscKilohertz - host.tscKilohertz)
  if (difference * 1e6 <= host.tscKilohertz * toleranceInMillionths) return []
  const here = `this host has ${gigahertz(host.tscKilohertz)} and no other`
  return [`TSC ${gigahertz(tscKilohertz)}, ${here}`]
}
