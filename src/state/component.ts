import type { Carried, Carrier } from './carried.ts'

/**
 * A part of the machine. The machine is one flat list of components in construction order (memory, interrupt
 * controllers, buses, back ends, devices, transports, PCI functions, vCPUs): build and resume walk it forwards, pause
 * and close backwards. No component knows who called it.
 */
export interface Component extends Carrier {
  /** Derived from the configuration and stable across releases: `disk0.transport`. */
  readonly name: string
  /** What travels with it. Saved and loaded only while paused. */
  readonly state: Carried
  /** vCPUs are parked already. On return no work is produced and in-flight work is finished. Idempotent. */
  pause(): Promise<void>
  /** vCPUs are still parked. Idempotent. */
  resume(): void
  /** Only while paused: back to power-on state, host resources kept. A reboot is pause, reset, resume. */
  reset(): void
  /** Gives back every host resource, in any state; calling it twice is calling it once. */
  close(): Promise<void>
  /**
   * Takes what only one machine may have, as the locks of disks; what others have written to it is seen from then on. Only
   * while paused. Throws where somebody else has it. Idempotent; a component that is built has it already, unless it was built
   * for a machine that comes from elsewhere.
   */
  claim?(): void
  /**
   * Gives that away, with all that was written to it on stable storage. `isHandedOver`: to whoever has what handover() gave, and with it
   * the locks, which stay. Only while paused. Idempotent.
   */
  cede?(isHandedOver?: boolean): Promise<void>
  /**
   * What another process of this host takes it over by: descriptors, which stay its own. Throws ERR_MIGRATION where it has what
   * cannot be taken over. Nothing where absent.
   */
  handover?(): readonly number[]
  /** It goes on on another host than before: whoever outside must learn of that does, after it was resumed. Only while paused. */
  moved?(): void
  /** What clients can name of it, in any state but closed; nothing where absent. */
  describe?(): readonly DeviceDescription[]
}

/** A device as clients see it. */
export interface DeviceDescription {
  readonly id: string
  /** The device that it is plugged into. */
  readonly parent?: string
  /** Where it is on PCI: `0000:00:04.0`. */
  readonly pciAddress?: string
  /** What it has counted since the machine was built. */
  readonly counters?: Readonly<Record<string, bigint>>
}
