/** Something that reads bytes of whoever wrote them. */
export interface Target {
  /** What it takes, to begin from. */
  readonly examples: readonly Uint8Array[]
  /** Throws where it neither takes the bytes nor refuses them as it should. */
  judge(bytes: Uint8Array): void
}

/** No input of this size may keep a reader for longer. */
const mostMs = 2_000

export function refusesWithTypeError(read: () => unknown): void {
  try {
    read()
  } catch (error) {
    if (error instanceof TypeError && !error.message.includes('\n')) return
    throw error
  }
}

export function timed(judge: (bytes: Uint8Array) => void): (bytes: Uint8Array) => void {
  return bytes => {
    const begunMs = performance.now()
    judge(bytes)
    const tookMs = performance.now() - begunMs
    if (tookMs > mostMs) throw new Error(`it took ${tookMs.toFixed(0)} ms`)
  }
}
