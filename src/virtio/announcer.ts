/** After the first one, as bridges may not forward yet: so long after the one before. */
const pausesMs = [50, 150, 250, 350]
/** The least that Ethernet carries, without the checksum (IEEE 802.3 §3.2.7). */
const frameBytes = 60
const etherTypeRarp = 0x8035

/** Who has the address: a broadcast from which bridges learn where it is now (RFC 903: request reverse). */
export function rarpFrame(mac: Uint8Array): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(frameBytes)
  const view = new DataView(frame.buffer)
  frame.fill(0xff, 0, 6)
  frame.set(mac, 6)
  view.setUint16(12, etherTypeRarp)
  // Ethernet, IPv4, and how long addresses of each are.
  view.setUint16(14, 1)
  view.setUint16(16, 0x0800)
  frame.set([6, 4], 18)
  view.setUint16(20, 3)
  frame.set(mac, 22)
  frame.set(mac, 32)
  return frame
}

/** Says several times on the network where a card is. */
export class Announcer {
  readonly #send: () => void
  #timer: NodeJS.Timeout | undefined

  constructor(send: () => void) {
    this.#send = send
  }

  begin(): void {
    this.end()
    this.#next(0)
  }

  /** Idempotent. */
  end(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #next(index: number): void {
    this.#send()
    const pauseMs = pausesMs[index]
    if (pauseMs === undefined) return
    this.#timer = setTimeout(() => this.#next(index + 1), pauseMs)
    this.#timer.unref()
  }
}
