import { addon } from '../native/addon.ts'
import type { NativePageServer } from '../native/page-server.ts'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import type { MappedMemory } from './mapped.native.ts'
import { openRamImage, type RamSource } from './ram-image.native.ts'
import type { PagingOptions, RamImageLayer } from './ram-image.ts'

/** As long as the native side records. */
const mostTouched = 2 ** 20

/** RAM whose pages come when they are touched, from the layers of a snapshot. */
export class RamPager implements RamSource {
  readonly #layers: readonly RamImageLayer[]
  readonly #options: PagingOptions
  readonly #onFailure: (reason: string) => void
  #server: NativePageServer | undefined
  #touched: Uint32Array<ArrayBuffer> | undefined

  /**
   * `onFailure` is told once that a page cannot be had, or that the other process has gone. Whoever touches a page that is
   * missing waits until abandon(): the machine is to be stopped, without waiting for that, before it.
   */
  constructor(layers: readonly RamImageLayer[], options: PagingOptions, onFailure: (reason: string) => void) {
    this.#layers = layers
    this.#options = options
    this.#onFailure = onFailure
  }

  /** Throws ERR_MEMORY_IMAGE for layers that are no image of it, ERR_MEMORY where the host or the other process refuses. */
  async fill(memory: MappedMemory): Promise<void> {
    const { prefetch, handlerSocket, fills } = this.#options
    const image = openRamImage(this.#layers)
    try {
      const pages = prefetch === undefined ? {} : { prefetch }
      const handler = handlerSocket === undefined ? {} : { handlerSocket }
      const onFailure = this.#onFailure
      this.#server = new (addon().PageServer)({ memory: memory.native, image, onFailure, ...pages, ...handler })
      this.#server.start()
    } catch (cause) {
      const by = handlerSocket === undefined ? '' : ` by ${handlerSocket}`
      const reason = `memory cannot be restored on demand${by}: ${reasonOf(cause)}`
      throw new TsvmmError('ERR_MEMORY', { reason }, { cause })
    } finally {
      image.close()
    }
    // What fails in it is told as any other failure.
    if (fills === true && handlerSocket === undefined) void this.#server.fill()
  }

  /**
   * The pages that a machine restored from here is likely to touch, in that order; nothing where another process knows. As
   * of the first call: whoever saves the memory asks before, and touches all of it then.
   */
  touchedPages(): Uint32Array<ArrayBuffer> | undefined {
    const { prefetch = [], handlerSocket } = this.#options
    if (handlerSocket !== undefined || this.#server === undefined) return undefined
    this.#touched ??= Uint32Array.from([...new Set([...prefetch, ...this.#server.recorded()])].slice(0, mostTouched))
    return this.#touched
  }

  async complete(): Promise<void> {
    const { handlerSocket } = this.#options
    if (handlerSocket !== undefined) {
      throw new TsvmmError('ERR_MEMORY', { reason: `${handlerSocket} goes on to supply its pages` })
    }
    await this.#server?.fill()
  }

  /** Nobody waits any more; what is missing is zero. Only where the machine is given up. */
  abandon(): void {
    this.#server?.abandon()
  }

  /** Once nobody uses the memory any more. */
  close(): void {
    this.#server?.close()
  }
}
