/**
 * Guest-physical memory. JavaScript never holds a view of it (a view outlives an unmap): bytes are copied through the
 * addon, and only boot, tests and inspection do so. Every address is checked; what is not RAM throws ERR_MEMORY.
 */
export interface GuestMemory {
  /** RAM ranges in ascending order. */
  readonly ranges: readonly { readonly guestAddress: number; readonly sizeBytes: number }[]
  read(guestAddress: number, lengthBytes: number): Uint8Array<ArrayBuffer>
  write(guestAddress: number, bytes: Uint8Array): void
  fill(guestAddress: number, value: number, lengthBytes: number): void
  /** Reads from an open file straight into guest memory, beside other work. Rejects where the file ends early. */
  loadFile(guestAddress: number, fd: number, fileOffset: number, lengthBytes: number): Promise<void>
}
