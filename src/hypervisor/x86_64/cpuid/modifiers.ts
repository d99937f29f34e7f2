import { TsvmmError } from '../../../util/errors.ts'
import type { CpuidRegisters, CpuidTable } from './entry.ts'
import { featureNames, featureWords } from './feature-names.ts'
import { fitSaveArea } from './features.ts'

/** Bits of one register of CPUID: those of `mask` become those of `value`. */
export interface CpuidModifier {
  readonly leaf: number
  readonly subleaf: number
  readonly register: keyof CpuidRegisters
  readonly mask: number
  readonly value: number
}

/**
 * Changes what the guest is shown. Features can only be taken away: setting one that is not there would be a promise that
 * the CPU does not keep. Bits of a leaf that is not there are zero already.
 * Throws ERR_CPUS with the features, or the leaf, that are asked for and not there.
 */
export function modifyCpuid(table: CpuidTable, modifiers: readonly CpuidModifier[]): void {
  const missing = new Set<string>()
  for (const { leaf, subleaf, register, mask, value } of modifiers) {
    const entry = table.get(leaf, subleaf)
    const before = entry?.[register] ?? 0
    const after = ((before & ~mask) | (value & mask)) >>> 0
    const word = featureWords.find(each => each.leaf === leaf && each.subleaf === subleaf && each.register === register)
    if (word !== undefined) for (const name of featureNames(word.name, after & ~before)) missing.add(name)
    else if (entry === undefined && after !== 0) missing.add(`leaf 0x${leaf.toString(16)}.${subleaf}`)
    if (entry !== undefined) table.change(leaf, subleaf, () => ({ [register]: after }))
  }
  if (missing.size > 0) {
    const reason = `template: it asks for ${[...missing].join(', ')}, not there on this host`
    throw new TsvmmError('ERR_CPUS', { reason })
  }
  if (modifiers.some(({ leaf }) => leaf === 0xd)) fitSaveArea(table)
}
