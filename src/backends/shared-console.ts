import type { Chardev } from './chardev.ts'

/** What newcomers are shown of what was said before. */
const historyBytes = 16 * 1024

/** Somebody who joins a console. */
export interface ConsoleListener {
  /** The bytes do not change any more. */
  onOutput(bytes: Uint8Array): void
  /** While input is not wanted it waits where it comes from. What is under way may still come. */
  onInputWanted(isWanted: boolean): void
  /** The machine is gone. */
  onEnd(): void
}

export interface JoinedConsole {
  write(bytes: Uint8Array): void
  /** Idempotent. */
  leave(): void
}

/** A serial port or console that others can join: they hear what the guest says, and the guest cannot tell who types. */
export class SharedConsole {
  /** For the device: what it is connected to by its configuration, and all who have joined. */
  readonly chardev: Chardev
  readonly #history = new RecentBytes(historyBytes)
  readonly #listeners = new Set<ConsoleListener>()
  #onInput: (bytes: Uint8Array) => void = () => {}
  /** Not before somebody listens. */
  #isInputWanted = false
  #isClosed = false

  constructor(own: Chardev) {
    this.chardev = {
      write: bytes => {
        own.write(bytes)
        this.#history.push(bytes)
        for (const listener of this.#listeners) listener.onOutput(bytes)
      },
      onInput: listener => {
        this.#onInput = listener
        own.onInput(listener)
        this.#want(true)
      },
      setInputWanted: isWanted => {
        own.setInputWanted(isWanted)
        this.#want(isWanted)
      },
      ...(own.onBreak === undefined ? {} : { onBreak: (listener: () => void) => own.onBreak?.(listener) }),
      ...(own.onResize === undefined ? {} : { onResize: listener => own.onResize?.(listener) }),
      ...(own.path === undefined ? {} : { path: own.path }),
      get size() {
        return own.size
      },
      close: async () => {
        this.#end()
        await own.close()
      },
    }
  }

  /** Begins with the newest of what was said before. */
  join(listener: ConsoleListener): JoinedConsole {
    const recent = this.#history.bytes()
    if (recent.length > 0) listener.onOutput(recent)
    if (this.#isClosed) {
      listener.onEnd()
      return { write: () => {}, leave: () => {} }
    }
    this.#listeners.add(listener)
    listener.onInputWanted(this.#isInputWanted)
    return {
      write: bytes => {
        if (this.#listeners.has(listener)) this.#onInput(bytes)
      },
      leave: () => {
        this.#listeners.delete(listener)
      },
    }
  }

  #want(isWanted: boolean): void {
    this.#isInputWanted = isWanted
    for (const listener of this.#listeners) listener.onInputWanted(isWanted)
  }

  #end(): void {
    this.#isClosed = true
    const left = Array.from(this.#listeners)
    this.#listeners.clear()
    for (const listener of left) listener.onEnd()
  }
}

/** The newest bytes of a stream. */
class RecentBytes {
  readonly #limit: number
  /** A ring, made when there is something to keep. */
  #ring: Uint8Array<ArrayBuffer> | undefined
  #count = 0

  constructor(limit: number) {
    this.#limit = limit
  }

  push(bytes: Uint8Array): void {
    this.#ring ??= new Uint8Array(this.#limit)
    const kept = bytes.subarray(-this.#limit)
    const start = (this.#count + bytes.length - kept.length) % this.#limit
    const first = kept.subarray(0, this.#limit - start)
    this.#ring.set(first, start)
    this.#ring.set(kept.subarray(first.length))
    this.#count += bytes.length
  }

  bytes(): Uint8Array {
    if (this.#ring === undefined) return new Uint8Array()
    if (this.#count <= this.#limit) return this.#ring.slice(0, this.#count)
    const start = this.#count % this.#limit
    return Buffer.concat([this.#ring.subarray(start), this.#ring.subarray(0, start)])
  }
}
