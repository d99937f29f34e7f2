import { TsvmmError } from '../util/errors.ts'
import type { HandedDescriptors } from '../vmm/owned-descriptors.ts'

/** Descriptors that came with a request, in the order in which they came; those that nobody takes are closed. */
export class RequestDescriptors implements Disposable {
  readonly #left: number[]
  readonly #isShort: boolean
  readonly #close: (fd: number) => void

  /** `isShort`: more came than this process has room for. */
  constructor(
    { fds, isShort }: { readonly fds: readonly number[]; readonly isShort: boolean },
    close: (fd: number) => void,
  ) {
    this.#left = [...fds]
    this.#isShort = isShort
    this.#close = close
  }

  static readonly none = new RequestDescriptors({ fds: [], isShort: false }, () => {})

  get count(): number {
    return this.#left.length
  }

  /** The next ones. Throws ERR_API_REQUEST where not as many came as there shall be. */
  take(count: number): HandedDescriptors {
    if (this.#isShort) {
      throw new TsvmmError('ERR_API_REQUEST', { reason: 'not all descriptors arrived: this process has too many open' })
    }
    if (count > this.count) {
      const reason = `${count} descriptors were announced and ${this.count} came`
      throw new TsvmmError('ERR_API_REQUEST', { reason })
    }
    const fds = this.#left.splice(0, count)
    return { fds, close: () => fds.forEach(this.#close) }
  }

  [Symbol.dispose](): void {
    this.#left.splice(0).forEach(this.#close)
  }
}
