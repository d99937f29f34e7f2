/** How an image is opened; `sizeBytes` is of raw ones alone, others know their own. */
export interface DiskImageOptions {
  readonly format: 'raw' | 'qcow2' | 'vhdx'
  /** Duplicated. With it the image holds the lock of its open file description until it is gone. */
  readonly fd: number
  readonly sizeBytes?: number
  readonly readOnly: boolean
  /** As of a FileDisk. */
  readonly alignmentBytes: number
  readonly sparse: boolean
}

/**
 * A disk in a file of some format. The constructor reads and checks its tables, which blocks; it throws an Error that says what
 * is wrong and where. An engine that serves it keeps it beyond close(); when nobody has it any more, what is to be written is.
 */
export interface NativeDiskImage {
  /** Whole sectors; 0 once it is closed. */
  readonly sizeBytes: number
  /** What the guest must at least transfer. */
  readonly logicalBlockBytes: number
  /** The file that it stands on, and its format, as they are written there; an empty format where it says none. */
  readonly backing: { readonly path: Uint8Array; readonly format: Uint8Array } | undefined
  /** Before it is used: what it shows where it has nothing of its own. */
  setBacking(image: NativeDiskImage): void
  close(): void
}
