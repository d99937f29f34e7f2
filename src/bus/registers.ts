/**
 * How a device's registers are answered. A device declares a window of shared bytes and spans over it; the vCPU thread
 * obeys the spans without asking JavaScript wherever it can.
 *
 * Reads: `bytes` answers from the shared bytes; `clock` computes a counter from the monotonic clock; `indexed` answers with
 * the word of a table in the shared bytes that the window's first byte numbers, and with 0 where there is none or the
 * access is not 4 bytes wide; `trap` asks the device. Writes: `bytes` stores the bits set in `mask` (all where there is
 * none) into the shared bytes; `post` hands the write to the device without waiting, in order, before any later trap of
 * that vCPU; `ignore` drops it; `trap` waits for the device; `change` does so where the write would change a bit that is
 * set in `mask` of what a read answers, and drops it otherwise. `ecam` makes the access again in the ECAM of PCI, at the
 * place that the window's first register (CONFIG_ADDRESS, PCI Local Bus 3.0 §3.2.2.3.2) and the offset within the span
 * name. What no span covers reads as ones and ignores writes.
 */
export interface Span {
  /** First byte within the window. */
  readonly offset: number
  readonly lengthBytes: number
  readonly read: 'bytes' | 'clock' | 'ecam' | 'indexed' | 'trap'
  readonly write: 'bytes' | 'post' | 'ignore' | 'ecam' | 'change' | 'trap'
  /**
   * For `write: 'bytes'` and `'change'`: one mask byte per byte of the span, or of the table where reads are indexed; set
   * bits are writable.
   */
  readonly mask?: Uint8Array
  /** For `read: 'clock'`: ticks per second and width of the counter, which starts at 0 when the window is mapped. */
  readonly clock?: { readonly hertz: number; readonly bits: number }
  /** For `ecam`: where it is in memory, and how many buses, from 0 on, are in it. Such a span is at most 4 bytes long. */
  readonly ecam?: { readonly address: number; readonly buses: number }
  /** For `read: 'indexed'`: where the table begins, a multiple of 4, and how many words it has. Such a span has 4 bytes. */
  readonly indexed?: { readonly tableOffset: number; readonly entries: number }
}

/** Widths an access that reaches JavaScript can have; a wider one arrives as several, lowest address first. */
export type AccessWidth = 1 | 2 | 4

/** A block of registers as a device declares it, before anyone decides where it is mapped. */
export interface RegisterWindow {
  readonly name: string
  readonly sizeBytes: number
  /** Shared with the vCPU threads, `sizeBytes` long, with an ArrayBuffer of its own. The device may write it at any time. */
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly spans: readonly Span[]
  /** Answers a trapped read; only the low `width` bytes of the result count. */
  read(offset: number, width: AccessWidth): number
  /** Takes a trapped or posted write; `value` is unsigned. */
  write(offset: number, width: AccessWidth, value: number): void
}
