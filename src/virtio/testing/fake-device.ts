import type { AccessWidth, Span } from '../../bus/registers.ts'
import { stateless } from '../../state/carried.ts'
import { commonFeatures, type DeviceEvents, type VirtioDevice } from '../device.ts'
import { FakeBackend } from './fake-backend.ts'

interface FakeDeviceOptions {
  readonly features?: bigint
  readonly queueSizes?: readonly number[]
  /** virtio 1.2 §5. */
  readonly type?: number
}

/** A device of nothing but a transport's view of it: eight bytes of configuration, the last four take trapped writes. */
export class FakeDevice implements VirtioDevice {
  readonly name = 'fake'
  readonly state = stateless
  readonly type: number
  readonly queueSizes: readonly number[]
  readonly features: bigint
  readonly config = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)
  readonly configSpans: readonly Span[] = [
    { offset: 0, lengthBytes: 4, read: 'bytes', write: 'ignore' },
    { offset: 4, lengthBytes: 4, read: 'bytes', write: 'trap' },
  ]
  readonly backend = new FakeBackend()
  /** What the transport called, in order. */
  readonly calls: string[] = []
  events: DeviceEvents = { configChanged: () => {}, configAdjusted: () => {}, needsReset: () => {} }

  constructor({ features = 0n, queueSizes = [256, 128], type = 4 }: FakeDeviceOptions = {}) {
    this.features = commonFeatures.version1 | features
    this.queueSizes = queueSizes
    this.type = type
  }

  bind(events: DeviceEvents): void {
    this.events = events
  }

  negotiated(features: bigint): void {
    this.calls.push(`negotiated ${features.toString(16)}`)
  }

  writeConfig(offset: number, width: AccessWidth, value: number): void {
    this.calls.push(`write ${offset}/${width}=${value}`)
    this.config[offset] = value & 0xff
  }

  reset(): void {
    this.calls.push('reset')
    this.config.set([1, 2, 3, 4, 5, 6, 7, 8])
  }

  async pause(): Promise<void> {}
  resume(): void {}

  async close(): Promise<void> {
    this.calls.push('close')
  }
}
