import { alignDown } from '../util/bytes.ts'
import { TsvmmError } from '../util/errors.ts'

/** Hands out device addresses from the top of an area downwards, as Cloud Hypervisor does. */
export class BarAllocator {
  readonly #start: number
  #next: number

  constructor(start: number, end: number) {
    this.#start = start
    this.#next = end
  }

  /** Throws ERR_RESOURCE_EXHAUSTED. */
  allocate(sizeBytes: number, alignment: number): number {
    const address = alignDown(this.#next - sizeBytes, alignment)
    if (address < this.#start) {
      throw new TsvmmError('ERR_RESOURCE_EXHAUSTED', { what: 'device addresses', reason: `${sizeBytes} bytes wanted` })
    }
    this.#next = address
    return address
  }
}
