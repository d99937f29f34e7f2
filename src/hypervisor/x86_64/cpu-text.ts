import type { X86Cpu } from './cpu-schema.ts'
import { featureNames } from './cpuid/feature-names.ts'

/** In a line: what it is, how far it addresses, how fast it counts. */
export function cpuLine(cpu: X86Cpu): string {
  const { brand, vendor, family, model, stepping, physicalAddressBits, tscKilohertz } = cpu
  const kind = `${vendor} family ${family} model ${model} stepping ${stepping}`
  const rate = tscKilohertz === undefined ? '' : `, TSC ${gigahertz(tscKilohertz)}`
  return `${brand === undefined ? kind : `${brand} (${kind})`}, ${physicalAddressBits} address bits${rate}`
}

/** Names of all features, without those of state that XSAVE keeps: they follow from others. */
export function cpuFeatures({ cpuid }: X86Cpu): string[] {
  const names = Object.entries(cpuid).flatMap(([word, bits]) => featureNames(word, Number(bits)))
  return [...new Set(names)].filter(name => !name.startsWith('xsave:'))
}

export function gigahertz(kilohertz: number): string {
  return `${Number((kilohertz / 1e6).toFixed(6))} GHz`
}
