import type { VmConfig } from '../config/vm-config.ts'
import type { MachineRam } from '../machine/build.ts'
import type { CpuFingerprint } from '../machine/cpu-fingerprint.ts'
import type { ComponentDescriptors } from '../machine/handover.native.ts'
import type { Lineage } from '../snapshot/lineage.ts'
import type { Carrier } from '../state/carried.ts'
import type { ComponentRecord } from '../state/walk.ts'

/** A machine that is to go to another host. */
export interface DepartingMachine {
  readonly config: VmConfig
  readonly components: readonly Carrier[]
  readonly ram: MachineRam
  readonly lineage: Lineage
  describeCpu(): Promise<CpuFingerprint>
  /** Slows its vCPUs down by so much, in percent. */
  throttle(percent: number): void
  /** It stands still from now on, and nobody but the migration lets it go on. Returns whether it did before. */
  leave(): Promise<boolean>
  /** It goes on if it ran before leave(), with all that is its own; throws where somebody else has that: it is paused then. */
  stay(): Promise<void>
  /** As of its components. */
  claim(): Promise<void>
  cede(isHandedOver: boolean): Promise<void>
  handover(): readonly ComponentDescriptors[]
}

/** What the source says of the machine. */
export interface AnnouncedMachine {
  /** To be checked as any configuration. */
  readonly config: unknown
  readonly cpu: CpuFingerprint
  readonly ranges: readonly { readonly guestAddress: number; readonly sizeBytes: number }[]
}

/** A machine that comes from another host: it stands still, its memory is zero, and it has nothing that is another one's. */
export interface ArrivingMachine {
  readonly components: readonly Carrier[]
  readonly ram: MachineRam
  /** Its memory is there. Throws ERR_STATE_INVALID for records that are not of such a machine. */
  load(records: readonly ComponentRecord[]): void
  claim(): Promise<void>
  /** It goes on, or stands still as it did, for the guest after so long. It is this side's whatever comes of it. */
  goOn(isPaused: boolean, pausedMs: number): Promise<void>
  /** Nothing is left of it. */
  discard(): Promise<void>
}
