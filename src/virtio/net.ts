import type { Span } from '../bus/registers.ts'
import { saved } from '../state/carried.ts'
import { Layout, readUint } from '../util/bytes.ts'
import { TsvmmError } from '../util/errors.ts'
import { Announcer, rarpFrame } from './announcer.ts'
import { commonFeatures, type DeviceEvents, readOnlySpans, type VirtioDevice } from './device.ts'
import { netState, type SavedNet } from './net-state.ts'
import type { MailboxBackend, MailboxHandlers, QueueBackend, Vring, VringPosition } from './queue-backend.ts'
import { loadLimiter, PausableLimiter, type RateLimiter } from './rate-limiter.ts'

/** virtio 1.2 §5.1.3. */
export const netFeatures = {
  csum: 1n << 0n,
  guestCsum: 1n << 1n,
  ctrlGuestOffloads: 1n << 2n,
  mtu: 1n << 3n,
  mac: 1n << 5n,
  guestTso4: 1n << 7n,
  guestTso6: 1n << 8n,
  guestEcn: 1n << 9n,
  guestUfo: 1n << 10n,
  hostTso4: 1n << 11n,
  hostTso6: 1n << 12n,
  hostEcn: 1n << 13n,
  hostUfo: 1n << 14n,
  mergeableBuffers: 1n << 15n,
  status: 1n << 16n,
  ctrlVq: 1n << 17n,
  guestAnnounce: 1n << 21n,
  multiQueue: 1n << 22n,
} as const

/** struct virtio_net_config (§5.1.4). */
const netConfig = new Layout(12, {
  status: { offset: 6, width: 2 },
  maxQueuePairs: { offset: 8, width: 2 },
  mtu: { offset: 10, width: 2 },
})
const linkUp = 1
/** The driver is to say on the network where it is (§5.1.6.5.4). */
const announce = 2
const controlQueueSize = 64

/** §5.1.6.5: class and command, then the data; answered by one byte. */
const control = {
  ...{ ok: 0, error: 1 },
  ...{ announce: 3, acknowledge: 0, multiQueue: 4, setPairs: 0, guestOffloads: 5, setOffloads: 0 },
} as const

export interface NetOptions {
  readonly name: string
  readonly mac: Uint8Array
  readonly mtu: number | undefined
  readonly queuePairs: number
  readonly queueSize: number
  readonly offloads: { readonly tso: boolean; readonly ufo: boolean; readonly csum: boolean }
  createBackend(
    onFailure: (queueIndex: number, reason: string) => void,
  ): QueueBackend & { setMode(pairs: number): void }
  createControl(handlers: MailboxHandlers): MailboxBackend
  /** Tells the host's side which of the guest's offloads (features of `netFeatures`, guest…) are on. */
  setGuestOffloads(features: bigint): void
  readonly receiveLimiter?: RateLimiter
  readonly transmitLimiter?: RateLimiter
  /** Sends a frame as if the guest had; what cannot be sent now is not. */
  sendFrame(frame: Uint8Array): void
  /** Of the tap's queues. */
  tapDescriptors(): readonly number[]
  closeTap(): void
}

/** A network card (virtio 1.2 §5.1): data queues in a native engine, the control queue here. */
export class VirtioNet implements VirtioDevice {
  readonly type = 1
  readonly name: string
  readonly state = saved({
    schema: netState,
    save: () => this.#save(),
    load: state => this.#load(state),
  })
  readonly queueSizes: readonly number[]
  readonly features: bigint
  readonly config = netConfig.encode({})
  readonly configSpans: readonly Span[] = readOnlySpans(this.config)
  readonly backend: QueueBackend
  readonly #options: NetOptions
  readonly #data: QueueBackend & { setMode(pairs: number): void }
  readonly #control: MailboxBackend
  readonly #receiveLimiter: PausableLimiter | undefined
  readonly #transmitLimiter: PausableLimiter | undefined
  #events: DeviceEvents | undefined
  #state = powerOnState()
  /** The features of the driver that is ready. */
  #accepted = 0n
  #isClosed = false
  readonly #announcer: Announcer
  #hasMoved = false
  /** Of a card that has moved, and whose driver is not known yet to know announcements. */
  #isToBeAnnounced = false

  constructor(options: NetOptions) {
    this.#options = options
    this.name = options.name
    const { queuePairs, queueSize, mac, mtu, receiveLimiter, transmitLimiter } = options
    this.#receiveLimiter = receiveLimiter && new PausableLimiter(receiveLimiter)
    this.#transmitLimiter = transmitLimiter && new PausableLimiter(transmitLimiter)
    this.queueSizes = [...new Array<number>(2 * queuePairs).fill(queueSize), controlQueueSize]
    this.features = featuresOf(options)
    this.config.set(mac, 0)
    netConfig.write(this.config, { status: linkUp, maxQueuePairs: queuePairs, mtu: mtu ?? 0 })
    const onFailure = (queue: number, reason: string) => this.#events?.needsReset(`queue ${queue}: ${reason}`)
    this.#data = options.createBackend(onFailure)
    this.#control = options.createControl({
      onChain: (queue, head, readable, writableBytes) => {
        const status = Uint8Array.of(this.#command(readable))
        // A driver that leaves no room for the answer gets none.
        this.#control.complete(queue, head, status.subarray(0, writableBytes))
      },
      onFailure,
    })
    const frame = rarpFrame(mac)
    this.#announcer = new Announcer(() => options.sendFrame(frame))
    this.backend = new SplitBackend(this.#data, this.#control, 2 * queuePairs)
  }

  bind(events: DeviceEvents): void {
    this.#events = events
  }

  negotiated(features: bigint): void {
    this.#accepted = features
    this.#options.setGuestOffloads(this.#state.guestOffloads ?? possibleOffloads(features))
    this.#data.setMode(this.#state.activePairs)
    if (this.#isToBeAnnounced) this.#askForAnnouncement()
  }

  writeConfig(): void {}

  async pause(): Promise<void> {
    this.#announcer.end()
    this.#receiveLimiter?.pause()
    this.#transmitLimiter?.pause()
  }

  resume(): void {
    this.#receiveLimiter?.resume()
    this.#transmitLimiter?.resume()
    if (!this.#hasMoved) return
    this.#hasMoved = false
    this.#announcer.begin()
    this.#isToBeAnnounced = true
  }

  moved(): void {
    this.#hasMoved = true
  }

  handover(): readonly number[] {
    return this.#options.tapDescriptors()
  }

  reset(): void {
    this.#state = powerOnState()
    this.#accepted = 0n
    this.#isToBeAnnounced = false
    this.#showStatus(linkUp)
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#announcer.end()
    this.#options.closeTap()
  }

  #save(): SavedNet {
    const { activePairs, guestOffloads } = this.#state
    return {
      activePairs,
      ...(guestOffloads === undefined ? {} : { guestOffloads }),
      ...(this.#receiveLimiter === undefined ? {} : { receiveLimiter: this.#receiveLimiter.save() }),
      ...(this.#transmitLimiter === undefined ? {} : { transmitLimiter: this.#transmitLimiter.save() }),
    }
  }

  #load(state: SavedNet): void {
    const { activePairs, guestOffloads } = state
    if (activePairs > this.#options.queuePairs) {
      const reason = `it was saved with ${activePairs} active queue pairs and has ${this.#options.queuePairs}`
      throw new TsvmmError('ERR_STATE_INVALID', { component: this.name, reason })
    }
    if (guestOffloads !== undefined && possibleOffloads(guestOffloads & this.features) !== guestOffloads) {
      const reason = `it has no offloads 0x${guestOffloads.toString(16)}`
      throw new TsvmmError('ERR_STATE_INVALID', { component: this.name, reason })
    }
    this.#state = { activePairs, guestOffloads }
    loadLimiter(this.name, this.#receiveLimiter, state.receiveLimiter)
    loadLimiter(this.name, this.#transmitLimiter, state.transmitLimiter)
  }

  #command(message: Uint8Array): number {
    const [commandClass, command] = message
    const data = message.subarray(2)
    if (commandClass === control.multiQueue && command === control.setPairs && data.length >= 2) {
      return this.#setPairs(Number(readUint(data, 0, 2)))
    }
    if (commandClass === control.guestOffloads && command === control.setOffloads && data.length >= 8) {
      return this.#setOffloads(readUint(data, 0, 8))
    }
    if (commandClass === control.announce && command === control.acknowledge) return this.#acknowledge()
    return control.error
  }

  /** Of a guest that is asked to, but has not done so when its state is saved, whoever loads that asks again or need not. */
  #askForAnnouncement(): void {
    this.#isToBeAnnounced = false
    if ((this.#accepted & netFeatures.guestAnnounce) === 0n) return
    netConfig.write(this.config, { status: linkUp | announce })
    this.#events?.configChanged()
  }

  #acknowledge(): number {
    if ((this.#accepted & netFeatures.guestAnnounce) === 0n) return control.error
    this.#showStatus(linkUp)
    return control.ok
  }

  #showStatus(status: number): void {
    netConfig.write(this.config, { status })
    this.#events?.configAdjusted()
  }

  #setPairs(pairs: number): number {
    const isNegotiated = (this.#accepted & netFeatures.multiQueue) !== 0n
    if (!isNegotiated || pairs < 1 || pairs > this.#options.queuePairs) return control.error
    this.#state.activePairs = pairs
    this.#data.setMode(pairs)
    return control.ok
  }

  /** §5.1.6.5.6: only what was negotiated can be turned on again. */
  #setOffloads(features: bigint): number {
    const isNegotiated = (this.#accepted & netFeatures.ctrlGuestOffloads) !== 0n
    const isPossible = possibleOffloads(features) === features && (features & ~this.#accepted) === 0n
    if (!isNegotiated || !isPossible) return control.error
    try {
      this.#options.setGuestOffloads(features)
    } catch {
      return control.error
    }
    this.#state.guestOffloads = features
    return control.ok
  }
}

interface NetState {
  activePairs: number
  /** What the driver has set; as it was negotiated where it has not. */
  guestOffloads: bigint | undefined
}

function powerOnState(): NetState {
  return { activePairs: 1, guestOffloads: undefined }
}

/** Of the guest's offloads in `features` those that have what they need (§5.1.3.1); a tap refuses others. */
function possibleOffloads(features: bigint): bigint {
  const { guestCsum, guestTso4, guestTso6, guestEcn, guestUfo } = netFeatures
  if ((features & guestCsum) === 0n) return 0n
  const segmentation = features & (guestTso4 | guestTso6)
  return guestCsum | segmentation | (features & guestUfo) | (segmentation === 0n ? 0n : features & guestEcn)
}

function featuresOf({ offloads, mtu, queuePairs }: NetOptions): bigint {
  let features = commonFeatures.version1 | commonFeatures.eventIndex | commonFeatures.indirectDescriptors
  features |= netFeatures.mac | netFeatures.status | netFeatures.ctrlVq | netFeatures.mergeableBuffers
  features |= netFeatures.guestAnnounce
  if (offloads.csum) features |= netFeatures.csum | netFeatures.guestCsum | netFeatures.ctrlGuestOffloads
  // Segmentation is of no use without checksums (§5.1.3.1).
  if (offloads.csum && offloads.tso) {
    features |= netFeatures.guestTso4 | netFeatures.guestTso6 | netFeatures.guestEcn
    features |= netFeatures.hostTso4 | netFeatures.hostTso6 | netFeatures.hostEcn
  }
  if (offloads.csum && offloads.ufo) features |= netFeatures.guestUfo | netFeatures.hostUfo
  if (mtu !== undefined) features |= netFeatures.mtu
  if (queuePairs > 1) features |= netFeatures.multiQueue
  return features
}

/** Data queues to one back end, the control queue to another. */
class SplitBackend implements QueueBackend {
  readonly #data: QueueBackend
  readonly #control: QueueBackend
  readonly #controlIndex: number

  constructor(data: QueueBackend, control: QueueBackend, controlIndex: number) {
    this.#data = data
    this.#control = control
    this.#controlIndex = controlIndex
  }

  start(vrings: readonly Vring[], features: bigint): void {
    // A driver that knows of one pair only puts the control queue right behind it (§5.1.2).
    const last = (features & netFeatures.multiQueue) === 0n ? 2 : this.#controlIndex
    const isControl = (vring: Vring) => vring.index >= last
    this.#control.start(vrings.filter(isControl), features)
    this.#data.start(
      vrings.filter(vring => !isControl(vring)),
      features,
    )
  }

  async stop(): Promise<readonly VringPosition[]> {
    const stopped = await Promise.all([this.#data.stop(), this.#control.stop()])
    return stopped.flat()
  }

  counters(): Record<string, bigint> {
    return this.#data.counters()
  }

  close(): void {
    this.#data.close()
    this.#control.close()
  }
}
