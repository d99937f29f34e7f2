import type { GuestMemory } from '../../memory/guest-memory.ts'
import { alignUp, Layout } from '../../util/bytes.ts'

/** virtio 1.2 §2.7.5. */
export const descriptorFlags = { next: 1, writable: 2, indirect: 4 } as const
const descriptor = new Layout(16, {
  address: { offset: 0, width: 8 },
  lengthBytes: { offset: 8, width: 4 },
  flags: { offset: 12, width: 2 },
  next: { offset: 14, width: 2 },
})
const index16 = new Layout(2, { value: { offset: 0, width: 2 } })
const usedElement = new Layout(8, { id: { offset: 0, width: 4 }, lengthBytes: { offset: 4, width: 4 } })

export interface GuestBuffer {
  readonly address: number
  readonly lengthBytes: number
  readonly isWritable?: boolean
}

/** The driver's side of a split virtqueue (virtio 1.2 §2.7), in guest memory from `base` on, a multiple of 4096. */
export class SplitQueue {
  readonly sizeEntries: number
  readonly descriptorTable: number
  readonly availableRing: number
  readonly usedRing: number
  readonly #memory: GuestMemory
  #offered = 0

  constructor(memory: GuestMemory, base: number, sizeEntries = 16) {
    this.#memory = memory
    this.sizeEntries = sizeEntries
    this.descriptorTable = base
    this.availableRing = base + 16 * sizeEntries
    this.usedRing = alignUp(this.availableRing + 6 + 2 * sizeEntries, 4096)
    this.clear()
  }

  /** As a driver that begins anew leaves it. */
  clear(): void {
    this.#offered = 0
    this.#memory.fill(this.descriptorTable, 0, 16 * this.sizeEntries)
    this.#memory.fill(this.availableRing, 0, 6 + 2 * this.sizeEntries)
    this.#memory.fill(this.usedRing, 0, 6 + 8 * this.sizeEntries)
  }

  /** Any descriptor, however wrong; `table` where it is an indirect one. */
  writeDescriptor(
    index: number,
    fields: { readonly address: number | bigint; readonly lengthBytes: number; readonly flags: number; next?: number },
    table = this.descriptorTable,
  ): void {
    this.#memory.write(table + 16 * index, descriptor.encode({ next: 0, ...fields }))
  }

  /**
   * Puts heads into the available ring, whatever they are, and tells of all in one step; the device, which may be looking
   * already, hears of it by a notification.
   */
  offer(...heads: readonly number[]): void {
    for (const head of heads) {
      const slot = this.#offered % this.sizeEntries
      this.#memory.write(this.availableRing + 4 + 2 * slot, index16.encode({ value: head }))
      this.#offered = (this.#offered + 1) % 0x1_0000
    }
    this.#memory.write(this.availableRing + 2, index16.encode({ value: this.#offered }))
  }

  /** A chain in the descriptors from `head` on. */
  offerChain(head: number, buffers: readonly GuestBuffer[]): void {
    for (const [number, { address, lengthBytes, isWritable = false }] of buffers.entries()) {
      const isLast = number === buffers.length - 1
      const flags = (isWritable ? descriptorFlags.writable : 0) | (isLast ? 0 : descriptorFlags.next)
      this.writeDescriptor(head + number, { address, lengthBytes, flags, next: isLast ? 0 : head + number + 1 })
    }
    this.offer(head)
  }

  usedIndex(): number {
    return index16.readNumber(this.#memory.read(this.usedRing + 2, 2), 'value')
  }

  /** What the device gave back as number `position`. */
  used(position: number): { readonly id: number; readonly lengthBytes: number } {
    const bytes = this.#memory.read(this.usedRing + 4 + 8 * (position % this.sizeEntries), 8)
    return { id: usedElement.readNumber(bytes, 'id'), lengthBytes: usedElement.readNumber(bytes, 'lengthBytes') }
  }
}
