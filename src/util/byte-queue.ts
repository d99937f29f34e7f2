/** Bytes in the order they came, taken in pieces of any size. */
export class ByteQueue {
  readonly #chunks: Uint8Array[] = []
  #lengthBytes = 0

  get lengthBytes(): number {
    return this.#lengthBytes
  }

  /** Keeps `bytes`, which must not change any more. */
  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    this.#chunks.push(bytes)
    this.#lengthBytes += bytes.length
  }

  /** The first bytes, at most `maximum` of them and at most what was pushed at once; nothing where there are none. */
  take(maximum = Number.POSITIVE_INFINITY): Uint8Array | undefined {
    const [first] = this.#chunks
    if (first === undefined || maximum <= 0) return undefined
    if (first.length <= maximum) this.#chunks.shift()
    else this.#chunks[0] = first.subarray(maximum)
    const taken = first.subarray(0, maximum)
    this.#lengthBytes -= taken.length
    return taken
  }

  /** Gives back what was taken last and not used. */
  unshift(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    this.#chunks.unshift(bytes)
    this.#lengthBytes += bytes.length
  }

  /** Drops the oldest bytes until at most `maximum` are left. */
  keepNewest(maximum: number): void {
    while (this.#lengthBytes > maximum) this.take(this.#lengthBytes - maximum)
  }

  clear(): void {
    this.keepNewest(0)
  }
}
