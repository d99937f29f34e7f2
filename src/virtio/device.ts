import type { AccessWidth, Span } from '../bus/registers.ts'
import type { Component } from '../state/component.ts'
import type { QueueBackend } from './queue-backend.ts'

/** Feature bits that do not depend on the device type (virtio 1.2 §6). */
export const commonFeatures = {
  indirectDescriptors: 1n << 28n,
  eventIndex: 1n << 29n,
  version1: 1n << 32n,
} as const

/** What the transport tells a device's back ends and the other way round. */
export interface DeviceEvents {
  /** The configuration has changed: the driver is told. */
  configChanged(): void
  /** The configuration has changed as the driver has asked for: it is not told. */
  configAdjusted(): void
  /** The device cannot go on until it is reset (virtio 1.2 §2.1.2, DEVICE_NEEDS_RESET). */
  needsReset(reason: string): void
}

/**
 * A virtio device without its transport: what it offers, its configuration and who serves its queues. In the list it stands
 * before its transport, which pauses before it and resumes after it.
 */
export interface VirtioDevice extends Component {
  /** virtio 1.2 §5. */
  readonly type: number
  readonly queueSizes: readonly number[]
  readonly features: bigint
  /** The device-specific configuration; spans count from its start. */
  readonly config: Uint8Array<ArrayBuffer>
  readonly configSpans: readonly Span[]
  /** A write where the spans trap. */
  writeConfig(offset: number, width: AccessWidth, value: number): void
  /** Which of the queues' back ends serves what is between the device and `backend`. */
  readonly backend: QueueBackend
  /** Called with what the driver accepted before the back end starts. */
  negotiated(features: bigint): void
  bind(events: DeviceEvents): void
  /** Of a disk: it has so many bytes from now on. Throws ERR_DEVICE_SIZE. */
  resize?(sizeBytes: number): void
  /** To power-on state, as the driver may ask too; the back end is stopped. */
  reset(): void
}

/** Spans of a configuration that the driver only reads. */
export function readOnlySpans(config: Uint8Array): readonly Span[] {
  return config.length === 0 ? [] : [{ offset: 0, lengthBytes: config.length, read: 'bytes', write: 'ignore' }]
}
