import type { VmConfig } from '../config/vm-config.ts'
import type { DirtyPages, ExitCounters, VcpuStop } from '../hypervisor/hypervisor.ts'
import { Kvm } from '../hypervisor/kvm.native.ts'
import { handedRam } from '../memory/handed-ram.native.ts'
import { ramFromLayers } from '../memory/ram-image.native.ts'
import type {
  PagingOptions,
  RamImageLayer,
  RamImageWriter,
  RamImageWriterOptions,
  RamRestoreMode,
} from '../memory/ram-image.ts'
import { RamPager } from '../memory/ram-pager.native.ts'
import type {
  LateRam,
  LateRamOptions,
  RamReceiver,
  RamReceiverOptions,
  RamSender,
  RamSenderOptions,
} from '../memory/ram-transfer.ts'
import { TsvmmError } from '../util/errors.ts'
import type { Consoles, Terminals } from './chardevs.ts'
import type { CpuFingerprint } from './cpu-fingerprint.ts'
import { crashOf } from './crash.ts'
import type { CoreLayout } from './elf-core.ts'
import type { HandedOver } from './handover.native.ts'
import type { DeviceHotplug, DevicePlace, NewDevice } from './hotplug.ts'
import { Machine } from './machine.ts'
import { RamPagerComponent } from './ram-pager.ts'
import { ramComponent } from './virtual-machine.ts'
import { X86Machine } from './x86_64-machine.ts'

export interface MachineEvents {
  powerOff(): void
  reset(): void
  /** The machine cannot go on; `report` says where it was. */
  crash(error: TsvmmError, report: string): void
  /** Pages of its memory cannot be had any more, and are zero instead: it must neither run nor be saved. */
  memoryLost(error: TsvmmError): void
  /** The guest wrote a code to the debug port, so many seconds after the machine was built. */
  debugCode(code: number, elapsedSeconds: number): void
  /** A device does nothing more until its driver resets it. */
  needsReset(device: string, reason: string): void
  /** A device has left the machine, and all that it had of the host is given back. */
  deviceRemoved(id: string): void
  /** Something is wrong with a disk's image: the guest gets I/O errors where that is. */
  diskFault(device: string, reason: string): void
  /** The person at the terminal asks for the end. */
  quit(): void
}

/** The RAM of a machine as it is saved or moved. */
export interface MachineRam {
  readonly ranges: readonly { readonly guestAddress: number; readonly sizeBytes: number }[]
  readonly dirtyPages: DirtyPages
  createImageWriter(options: RamImageWriterOptions): RamImageWriter
  createSender(options: RamSenderOptions): RamSender
  createReceiver(options: RamReceiverOptions): RamReceiver
  /** Only while the machine stands still. Throws ERR_MEMORY where the host has not what it takes for that. */
  createLate(options: LateRamOptions): LateRam
  /** Image pages in the order in which they were first touched after a restore on demand. */
  touchedPages?(): Uint32Array | undefined
  /** All of it is there from now on, also after a restore on demand. Throws ERR_MEMORY where somebody else goes on to supply it. */
  complete?(): Promise<void>
}

export type { Consoles, DevicePlace, DirtyPages, NewDevice, Terminals }

/** Saved RAM that a machine begins with. */
export interface SavedRam {
  /** Newest first; they may be closed once the machine is built. */
  readonly layers: readonly RamImageLayer[]
  readonly mode: RamRestoreMode
  readonly threads: number
  /** Of `ondemand`. */
  readonly paging?: PagingOptions
}

export interface BuiltMachine {
  readonly components: Machine
  readonly ram: MachineRam
  readonly hotplug: Pick<DeviceHotplug, 'add' | 'remove' | 'resize' | 'finishRemovals'>
  readonly terminals: Terminals
  readonly consoles: Consoles
  /** What another host must have to take the guest over. Only while it is paused. */
  describeCpu(): CpuFingerprint
  /** As describeCpu(), of one that runs: for that its first vCPU is parked for a moment. */
  describeRunningCpu(): Promise<CpuFingerprint>
  /**
   * The guest's clock goes on as if it had run while the machine was paused or saved: for so long, or as long as the clocks of
   * the hosts say. Only while it is paused.
   */
  skipPause(pausedMs?: number): void
  /** It goes on from a saved state: the guest is told before anything of it runs. Only while it is paused. */
  newGeneration(): void
  /** It goes on, the same one, on another host: the guest is told. Only while it is paused. */
  moved(): void
  /** Loads firmware tables and kernel into a machine at power-on state. */
  load(): Promise<void>
  /** Slows its vCPUs down by so much, in percent; 0: not at all. */
  throttle(percent: number): void
  pressPowerButton(): void
  injectNmi(): Promise<void>
  exitCounters(): ExitCounters
  /** Registers and memory for debuggers. Only while it is paused. */
  coreDump(): CoreDump
}

export interface CoreDump extends CoreLayout {
  read(guestAddress: number, sizeBytes: number): Uint8Array
}

export interface BuildOptions {
  /** The hypervisor's device. */
  readonly kvmPath?: string
  /** The machine is to be loaded with what was saved: it has this RAM, and no kernel is read. */
  readonly ram?: SavedRam
  /**
   * The machine comes from another host, and is to be loaded with its state: its RAM is zero at first, no kernel is read, and
   * what only one machine may have is claimed later on.
   */
  readonly arrives?: boolean
  /** It is taken over from another process of this host, with these: its RAM is what it is there. */
  readonly handedOver?: HandedOver
  /** The CPU that it was saved with. Throws ERR_CPU_MISSING where the host cannot give it; no template is read. */
  readonly cpu?: CpuFingerprint
}

export type MachineBuilder = (config: VmConfig, events: MachineEvents, options: BuildOptions) => Promise<BuiltMachine>

/** Opens every host resource that `config` names and builds the machine; nothing is left open where that fails. */
export async function buildMachine(
  config: VmConfig,
  events: MachineEvents,
  options: BuildOptions = {},
): Promise<BuiltMachine> {
  const kvm = Kvm.open(options.kvmPath)
  const components = new Machine()
  let machine: X86Machine | undefined
  try {
    const { arrives = false, handedOver } = options
    using handed = handedOver && handedRam(handedOver.take(ramComponent) ?? [])
    const source = (options.ram && sourceOf(options.ram, reason => lose(reason))) ?? handed
    const lose = (reason: string) => {
      // They go no further than the access that they wait for; waiting for them would be waiting for the page.
      machine?.halt()
      events.memoryLost(new TsvmmError('ERR_VM_CRASHED', { reason: `its memory cannot be had: ${reason}` }))
      if (source instanceof RamPager) source.abandon()
    }
    // First: closed when the virtual machine is.
    if (source instanceof RamPager) components.add(new RamPagerComponent(source))
    const ram = source === undefined ? {} : { ram: source }
    const cpu = options.cpu === undefined ? {} : { cpu: options.cpu }
    const taken = handedOver === undefined ? {} : { handedOver }
    machine = await X86Machine.build({ config, events, kvm, components, arrives, ...taken, ...ram, ...cpu })
    const { vcpus } = machine
    machine.onStop = (index: number, stop: VcpuStop) => {
      const { error, report } = crashOf(index, stop, vcpus[index])
      events.crash(error, report)
    }
    return machine
  } catch (error) {
    await components.close()
    throw error
  } finally {
    kvm.close()
  }
}

function sourceOf({ layers, mode, threads, paging }: SavedRam, onFailure: (reason: string) => void) {
  return mode === 'ondemand' ? new RamPager(layers, paging ?? {}, onFailure) : ramFromLayers(layers, mode, threads)
}
