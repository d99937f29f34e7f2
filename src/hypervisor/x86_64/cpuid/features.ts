import { TsvmmError } from '../../../util/errors.ts'
import type { CpuidTable } from './entry.ts'

/** Feature bits, by leaf and register (Intel SDM Vol. 2A, CPUID; AMD APM Vol. 3 appendix E). */
const basic = {
  ecx: { vmx: 1 << 5, x2apic: 1 << 21, tscDeadline: 1 << 24, hypervisor: 1 << 31 },
  edx: { mtrr: 1 << 12 },
} as const
const svm = 1 << 2
const svmLeaf = 0x8000_000a

/** What KVM emulates whatever the host's CPU has: the local APIC's modes, and that this is a guest. */
export function addEmulatedFeatures(table: CpuidTable): void {
  const { x2apic, tscDeadline, hypervisor } = basic.ecx
  table.change(0x1, 0, ({ ecx, edx }) => ({
    ecx: ecx | x2apic | tscDeadline | hypervisor,
    edx: edx | basic.edx.mtrr,
  }))
}

/** Without them the guest cannot itself run virtual machines. */
export function removeVirtualization(table: CpuidTable): void {
  table.change(0x1, 0, ({ ecx }) => ({ ecx: ecx & ~basic.ecx.vmx }))
  table.change(0x8000_0001, 0, ({ ecx }) => ({ ecx: ecx & ~svm }))
  table.remove(svmLeaf)
}

const sgx = 1 << 2
const sgxLaunchControl = 1 << 30
const sgxLeaf = 0x12

/** Enclaves would need memory of their own kind, which a guest is not given. */
export function removeEnclaves(table: CpuidTable): void {
  table.change(0x7, 0, ({ ebx, ecx }) => ({ ebx: ebx & ~sgx, ecx: ecx & ~sgxLaunchControl }))
  table.remove(sgxLeaf)
}

/** The tile features of leaf 7: BF16, TILE and INT8; FP16 and COMPLEX in subleaf 1. */
const tiles = 1 << 24
const amxFeatures = (1 << 22) | tiles | (1 << 25)
const amxFp16 = 1 << 21
const amxComplex = 1 << 8
const extendedStateLeaf = 0xd
/** State components of the tile registers: their configuration and their data. */
const tileComponents = [17, 18] as const
const tileMask = tileComponents.reduce((mask, component) => mask | (1 << component), 0)
const headerEndBytes = 576

/**
 * Takes the tile registers away, whose 8 KiB of state every context switch and snapshot would carry. The size of the save
 * area shrinks with them.
 */
export function removeAmx(table: CpuidTable): void {
  table.change(0x7, 0, ({ edx }) => ({ edx: edx & ~amxFeatures }))
  table.change(0x7, 1, ({ eax, edx }) => ({ eax: eax & ~amxFp16, edx: edx & ~amxComplex }))
  table.remove(0x1d)
  table.remove(0x1e)
  for (const component of tileComponents) table.removeSubleaf(extendedStateLeaf, component)
  if (((table.get(extendedStateLeaf)?.eax ?? 0) & tileMask) === 0) return
  table.change(extendedStateLeaf, 0, ({ eax }) => ({ eax: eax & ~tileMask }))
  fitSaveArea(table)
}

/** The size of the save area that XSAVE needs for the components that there are. */
export function fitSaveArea(table: CpuidTable): void {
  const mask = table.get(extendedStateLeaf)?.eax ?? 0
  const isThere = (subleaf: number) => subleaf >= 2 && subleaf < 32 && ((mask >>> subleaf) & 1) !== 0
  // Each component's subleaf has its size and offset; those kept in the compacted format only have no offset.
  const components = table
    .subleaves(extendedStateLeaf)
    .filter(({ subleaf, ecx }) => isThere(subleaf) && (ecx & 1) === 0)
  const size = Math.max(headerEndBytes, ...components.map(component => component.eax + component.ebx))
  table.change(extendedStateLeaf, 0, () => ({ ecx: size }))
}

/** Throws ERR_CPUS where the host's CPU or kernel does not let guests have the tile registers. */
export function requireAmx(table: CpuidTable): void {
  const hasTiles = ((table.get(0x7)?.edx ?? 0) & tiles) !== 0
  const hasState = ((table.get(extendedStateLeaf)?.eax ?? 0) & tileMask) === tileMask
  if (hasTiles && hasState) return
  const reason = hasTiles ? 'this process may not use it for guests' : 'this host has no such CPU'
  throw new TsvmmError('ERR_CPUS', { reason: `features: amx: ${reason}` })
}
