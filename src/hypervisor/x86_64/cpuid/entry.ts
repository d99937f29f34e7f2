/** One answer of the CPUID instruction; registers are unsigned. */
export interface CpuidEntry {
  readonly leaf: number
  readonly subleaf: number
  readonly flags: number
  readonly eax: number
  readonly ebx: number
  readonly ecx: number
  readonly edx: number
}

/** struct kvm_cpuid_entry2: ten little-endian words, of which the last three are padding. */
const entryWords = ['leaf', 'subleaf', 'flags', 'eax', 'ebx', 'ecx', 'edx'] as const
const wordBytes = 4
const entryBytes = 10 * wordBytes

/** KVM_CPUID_FLAG_SIGNIFCANT_INDEX: the leaf has subleaves. */
export const significantSubleaf = 1

/** Every start of a machine decodes a hundred entries, and encodes them for each vCPU: one view serves all their words. */
export function decodeCpuid(bytes: Uint8Array): CpuidEntry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return Array.from({ length: Math.floor(bytes.length / entryBytes) }, (_, index) => {
    const word = (place: number) => view.getUint32(index * entryBytes + place * wordBytes, true)
    return {
      ...{ leaf: word(0), subleaf: word(1), flags: word(2) },
      ...{ eax: word(3), ebx: word(4), ecx: word(5), edx: word(6) },
    }
  })
}

export function encodeCpuid(entries: readonly CpuidEntry[]): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(entries.length * entryBytes))
  for (const [index, entry] of entries.entries()) {
    for (const [place, name] of entryWords.entries()) {
      view.setUint32(index * entryBytes + place * wordBytes, entry[name], true)
    }
  }
  return new Uint8Array(view.buffer)
}

export type CpuidRegisters = Pick<CpuidEntry, 'eax' | 'ebx' | 'ecx' | 'edx'>

/** CPUID leaves by number, for changing some of them. */
export class CpuidTable {
  readonly #entries: Map<number, CpuidEntry>

  constructor(entries: readonly CpuidEntry[]) {
    this.#entries = new Map(entries.map(entry => [key(entry.leaf, entry.subleaf), entry]))
  }

  get(leaf: number, subleaf = 0): CpuidEntry | undefined {
    return this.#entries.get(key(leaf, subleaf))
  }

  /** All subleaves of a leaf, in the order of the table. */
  subleaves(leaf: number): CpuidEntry[] {
    return [...this.#entries.values()].filter(entry => entry.leaf === leaf)
  }

  /** Changes registers of an entry that is there; does nothing where it is not. */
  change(leaf: number, subleaf: number, change: (entry: CpuidEntry) => Partial<CpuidRegisters>): void {
    const entry = this.get(leaf, subleaf)
    if (entry !== undefined) this.put({ ...entry, ...change(entry) })
  }

  /** Adds or replaces; registers not given are zero, negative ones the bits that they stand for. */
  put(entry: Pick<CpuidEntry, 'leaf'> & Partial<CpuidEntry>): void {
    const { leaf, subleaf = 0, flags = 0, eax = 0, ebx = 0, ecx = 0, edx = 0 } = entry
    const registers = { eax: eax >>> 0, ebx: ebx >>> 0, ecx: ecx >>> 0, edx: edx >>> 0 }
    this.#entries.set(key(leaf, subleaf), { leaf, subleaf, flags, ...registers })
  }

  /** Removes a leaf with all its subleaves: the guest reads zeroes. */
  remove(leaf: number): void {
    for (const { subleaf } of this.subleaves(leaf)) this.removeSubleaf(leaf, subleaf)
  }

  removeSubleaf(leaf: number, subleaf: number): void {
    this.#entries.delete(key(leaf, subleaf))
  }

  entries(): CpuidEntry[] {
    return [...this.#entries.values()]
  }
}

/** KVM knows no subleaf beyond a few dozen; leaves have 32 bits, and the number stays exact. */
function key(leaf: number, subleaf: number): number {
  return leaf * 2 ** 16 + subleaf
}
