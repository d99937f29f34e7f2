import type { AccessWidth, Span } from '../bus/registers.ts'
import { saved } from '../state/carried.ts'
import { consecutive, Layout } from '../util/bytes.ts'
import { TsvmmError } from '../util/errors.ts'
import { blkState, type SavedBlk } from './blk-state.ts'
import { commonFeatures, type DeviceEvents, type VirtioDevice } from './device.ts'
import type { QueueBackend } from './queue-backend.ts'
import { loadLimiter, PausableLimiter, type RateLimiter } from './rate-limiter.ts'

/** virtio 1.2 §5.2.1. */
export const blkType = 2

/** virtio 1.2 §5.2.3. */
export const blkFeatures = {
  segMax: 1n << 2n,
  readOnly: 1n << 5n,
  blkSize: 1n << 6n,
  flush: 1n << 9n,
  topology: 1n << 10n,
  configWce: 1n << 11n,
  multiQueue: 1n << 12n,
  discard: 1n << 13n,
  writeZeroes: 1n << 14n,
} as const

/** struct virtio_blk_config (§5.2.4). */
const blkConfig = new Layout(60, {
  capacity: { offset: 0, width: 8 },
  ...consecutive(['sizeMax', 'segMax'], 4, 8),
  blkSize: { offset: 20, width: 4 },
  physicalBlockExponent: { offset: 24, width: 1 },
  alignmentOffset: { offset: 25, width: 1 },
  minimumIoSize: { offset: 26, width: 2 },
  optimalIoSize: { offset: 28, width: 4 },
  writeback: { offset: 32, width: 1 },
  queueCount: { offset: 34, width: 2 },
  ...consecutive(['maxDiscardSectors', 'maxDiscardSeg', 'discardSectorAlignment'], 4, 36),
  ...consecutive(['maxWriteZeroesSectors', 'maxWriteZeroesSeg'], 4, 48),
  writeZeroesMayUnmap: { offset: 56, width: 1 },
})
const writebackOffset = 32
const sectorBytes = 512
const maximumSectors = 0x40_0000

/** Serves the queues and takes the cache mode: 1 writeback, 0 write-through. */
export type BlkBackend = QueueBackend & { setMode(mode: number): void }

export interface BlkOptions {
  readonly name: string
  readonly sizeBytes: number
  readonly logicalBlockBytes: number
  readonly physicalBlockBytes: number
  readonly isReadOnly: boolean
  readonly queues: number
  readonly queueSize: number
  readonly canDiscard: boolean
  readonly canWriteZeroes: boolean
  createBackend(onFailure: (queueIndex: number, reason: string) => void): BlkBackend
  /** Its own: one that it shares is saved elsewhere. */
  readonly limiter?: RateLimiter
  /** Makes what the host has of it larger, and has the back end serve it, whole sectors; absent where that cannot be. */
  growDisk?(sizeBytes: number): void
  closeDisk(): void
  /** As of a component's claim() and cede(). */
  claimDisk(): void
  cedeDisk(isHandedOver: boolean): Promise<void>
  /** Of the image, with its lock. */
  diskDescriptor(): number
}

/** A disk (virtio 1.2 §5.2). */
export class VirtioBlk implements VirtioDevice {
  readonly type = blkType
  readonly name: string
  readonly state = saved({
    schema: blkState,
    save: () => this.#save(),
    load: state => this.#load(state),
  })
  readonly queueSizes: readonly number[]
  readonly features: bigint
  readonly config: Uint8Array<ArrayBuffer>
  readonly configSpans: readonly Span[] = [
    { offset: 0, lengthBytes: writebackOffset, read: 'bytes', write: 'ignore' },
    { offset: writebackOffset, lengthBytes: 1, read: 'bytes', write: 'trap' },
    {
      offset: writebackOffset + 1,
      lengthBytes: blkConfig.sizeBytes - writebackOffset - 1,
      read: 'bytes',
      write: 'ignore',
    },
  ]
  readonly backend: BlkBackend
  readonly #options: BlkOptions
  #events: DeviceEvents | undefined
  #state = { isWriteback: true }
  /** By a driver that is ready, or has written it: its cache mode stays. */
  #isCacheModeChosen = false
  #sizeBytes: number
  /** What the driver knows of: less where the image has grown since the state was saved, or while nothing runs. */
  #knownBytes: number
  #isPaused = false
  readonly #limiter: PausableLimiter | undefined
  #isClosed = false

  constructor(options: BlkOptions) {
    this.#options = options
    this.#limiter = options.limiter && new PausableLimiter(options.limiter)
    this.#sizeBytes = options.sizeBytes
    this.#knownBytes = options.sizeBytes
    this.name = options.name
    this.queueSizes = new Array(options.queues).fill(options.queueSize)
    this.features = featuresOf(options)
    this.config = configOf(options)
    this.backend = options.createBackend((queue, reason) => this.#events?.needsReset(`queue ${queue}: ${reason}`))
  }

  bind(events: DeviceEvents): void {
    this.#events = events
  }

  /** Without FLUSH a driver cannot ask for its data to be safe, so every write is until it says otherwise (§5.2.5.2, §5.2.6.2). */
  negotiated(features: bigint): void {
    const canFlush = (features & blkFeatures.flush) !== 0n
    const isChosen = this.#isCacheModeChosen && (features & blkFeatures.configWce) !== 0n
    this.#isCacheModeChosen = true
    this.#setWriteback((canFlush || isChosen) && this.#state.isWriteback)
    this.#events?.configAdjusted()
  }

  writeConfig(offset: number, _width: AccessWidth, value: number): void {
    if (offset !== writebackOffset) return
    this.#isCacheModeChosen = true
    this.#setWriteback((value & 1) === 1)
  }

  /** A paused machine's driver hears of it when the machine goes on. */
  resize(sizeBytes: number): void {
    this.#requireGrowth(sizeBytes)
    this.#options.growDisk?.(sizeBytes)
    this.#sizeBytes = sizeBytes
    blkConfig.write(this.config, { capacity: sizeBytes / sectorBytes })
    if (!this.#isPaused) this.#tellSize()
  }

  async pause(): Promise<void> {
    this.#isPaused = true
    this.#limiter?.pause()
  }

  resume(): void {
    this.#isPaused = false
    this.#limiter?.resume()
    this.#tellSize()
  }

  reset(): void {
    this.#isCacheModeChosen = false
    this.#setWriteback(true)
  }

  claim(): void {
    this.#options.claimDisk()
  }

  async cede(isHandedOver = false): Promise<void> {
    await this.#options.cedeDisk(isHandedOver)
  }

  handover(): readonly number[] {
    return [this.#options.diskDescriptor()]
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#options.closeDisk()
  }

  /** A guest has no use for a disk that loses its end. */
  #requireGrowth(sizeBytes: number): void {
    const refuse = (reason: string) => {
      throw new TsvmmError('ERR_DEVICE_SIZE', { id: this.name, reason })
    }
    if (this.#options.growDisk === undefined) refuse('only raw disks that are written to can be')
    if (sizeBytes % sectorBytes !== 0) refuse(`${sizeBytes} is no multiple of ${sectorBytes}`)
    if (sizeBytes < this.#sizeBytes) refuse(`it has ${this.#sizeBytes} bytes already`)
  }

  #tellSize(): void {
    if (this.#knownBytes === this.#sizeBytes) return
    this.#knownBytes = this.#sizeBytes
    this.#events?.configChanged()
  }

  #save(): SavedBlk {
    const state = { isWriteback: this.#state.isWriteback, sizeBytes: this.#knownBytes }
    return this.#limiter === undefined ? state : { ...state, limiter: this.#limiter.save() }
  }

  #load({ isWriteback, sizeBytes, limiter }: SavedBlk): void {
    if (this.#sizeBytes < sizeBytes) {
      const reason = `its image has ${this.#sizeBytes} bytes and had ${sizeBytes}`
      throw new TsvmmError('ERR_STATE_INVALID', { component: this.name, reason })
    }
    this.#knownBytes = sizeBytes
    loadLimiter(this.name, this.#limiter, limiter)
    // Whoever drives it has seen that.
    this.#isCacheModeChosen = true
    this.#setWriteback(isWriteback)
  }

  #setWriteback(isWriteback: boolean): void {
    this.#state.isWriteback = isWriteback
    blkConfig.write(this.config, { writeback: isWriteback ? 1 : 0 })
    this.backend.setMode(isWriteback ? 1 : 0)
  }
}

function featuresOf(options: BlkOptions): bigint {
  const { isReadOnly, queues, canDiscard, canWriteZeroes } = options
  let features = commonFeatures.version1 | commonFeatures.eventIndex | commonFeatures.indirectDescriptors
  features |=
    blkFeatures.segMax | blkFeatures.blkSize | blkFeatures.flush | blkFeatures.topology | blkFeatures.configWce
  if (isReadOnly) features |= blkFeatures.readOnly
  if (queues > 1) features |= blkFeatures.multiQueue
  if (canDiscard && !isReadOnly) features |= blkFeatures.discard
  if (canWriteZeroes && !isReadOnly) features |= blkFeatures.writeZeroes
  return features
}

function configOf(options: BlkOptions): Uint8Array<ArrayBuffer> {
  const { sizeBytes, logicalBlockBytes, physicalBlockBytes, queueSize, queues } = options
  return blkConfig.encode({
    capacity: Math.floor(sizeBytes / sectorBytes),
    // Header and status take a descriptor each.
    segMax: Math.max(1, queueSize - 2),
    blkSize: logicalBlockBytes,
    physicalBlockExponent: Math.max(0, Math.log2(physicalBlockBytes / logicalBlockBytes)),
    minimumIoSize: physicalBlockBytes / logicalBlockBytes,
    writeback: 1,
    queueCount: queues,
    maxDiscardSectors: maximumSectors,
    maxDiscardSeg: 1,
    discardSectorAlignment: logicalBlockBytes / sectorBytes,
    maxWriteZeroesSectors: maximumSectors,
    maxWriteZeroesSeg: 1,
    writeZeroesMayUnmap: 1,
  })
}
