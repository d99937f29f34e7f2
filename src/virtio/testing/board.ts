import { SoftwareBus } from '../../bus/software-bus.ts'
import type { MsiRouter } from '../../interrupts/interrupts.ts'
import { InterruptRoutes } from '../../interrupts/routes.ts'
import { FakeGateway } from '../../interrupts/testing/fake-gateway.ts'
import type { EventFd } from '../../memory/event-fd.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import { SoftwareMemory } from '../../memory/testing/software-memory.ts'
import { PciSegment } from '../../pci/segment.ts'
import { GuestFunction } from '../../pci/testing/guest-function.ts'
import type { VirtioDevice } from '../device.ts'
import { VirtioPciTransport } from '../pci-transport.ts'
import type { Doorbells } from '../queue-doorbells.ts'
import { GuestDriver } from './guest-driver.ts'
import { SplitQueue } from './split-queue.ts'

const ecam = 0xe800_0000
export const barAddress = 0x10_0080_0000
export const ram = { guestAddress: 0x10_0000, sizeBytes: 0x10_0000 } as const
const queueBytes = 0x1_0000
const pins = 24

/** As KVM: one event descriptor an address, and only what is attached can be detached. */
export class FakeDoorbells implements Doorbells {
  readonly attached = new Map<number, EventFd>()

  attach(eventFd: EventFd, address: number): void {
    if (this.attached.has(address)) throw new Error(`KVM_IOEVENTFD: 0x${address.toString(16)} is taken`)
    this.attached.set(address, eventFd)
  }

  detach(eventFd: EventFd, address: number): void {
    if (this.attached.get(address) !== eventFd) throw new Error(`KVM_IOEVENTFD: not at 0x${address.toString(16)}`)
    this.attached.delete(address)
  }
}

export interface BoardOptions {
  readonly memory?: GuestMemory
  /** Where engines of the addon serve the device, these are its own. */
  readonly router?: MsiRouter
  readonly createEventFd?: () => EventFd
}

/** A device behind its transport in slot 0 of a segment, with a guest's driver and memory for it, without a hypervisor. */
export function aBoard<D extends VirtioDevice>(device: D, options: BoardOptions = {}) {
  const bus = new SoftwareBus()
  const gateway = new FakeGateway()
  const doorbells = new FakeDoorbells()
  const segment = new PciSegment(0, bus, ecam)
  const broken: string[] = []
  const memory = options.memory ?? new SoftwareMemory(ram)
  const transport = new VirtioPciTransport({
    ...{ device, segment, bus, doorbells, slot: 0, barAddress },
    router: options.router ?? new InterruptRoutes(gateway, pins),
    createEventFd: options.createEventFd ?? (() => gateway.createEventFd()),
    onNeedsReset: reason => broken.push(reason),
  })
  const driver = new GuestDriver(bus, new GuestFunction(bus, ecam, transport.slot))
  const queues = device.queueSizes.map((size, index) => {
    return new SplitQueue(memory, ram.guestAddress + index * queueBytes, Math.min(16, size))
  })
  return {
    ...{ device, bus, gateway, doorbells, segment, memory, transport, driver, queues },
    /** Why the device needed a reset, each time. */
    broken,
    /** Message numbers delivered since the last call. */
    interrupts: () => gateway.take().map(message => message.data),
  }
}
