import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FakeChardev } from '../../backends/testing/fake-chardev.ts'
import { InterruptRoutes, type MsiGateway } from '../../interrupts/routes.ts'
import type { EventFd } from '../../memory/event-fd.ts'
import { MappedMemory } from '../../memory/mapped.native.ts'
import { addon } from '../../native/addon.ts'
import { VirtioBlk } from '../blk.ts'
import { VirtioConsole } from '../console.ts'
import type { VirtioDevice } from '../device.ts'
import { createBlockBackend, createMailboxBackend } from '../engines.native.ts'
import { aBoard, ram } from './board.ts'

const diskBytes = 2 ** 20

/** Vectors are event descriptors of the kernel; a delivered interrupt is a signal that waits in one. */
class CountingGateway implements MsiGateway {
  readonly gsiLimit = 64
  readonly vectors: EventFd[] = []

  createEventFd(): EventFd {
    const eventFd = new (addon().EventFd)()
    this.vectors.push(eventFd)
    return eventFd
  }

  setRoutes(): void {}
  attach(): void {}
  detach(): void {}
  signal(): void {}
}

/** Polls, as the kernel's side of these tests has no events for JavaScript. */
export async function until(what: string, isTrue: () => boolean): Promise<void> {
  const deadline = Date.now() + 10_000
  while (!isTrue()) {
    if (Date.now() > deadline) throw new Error(`${what}: not within 10 s`)
    await new Promise(resolve => setTimeout(resolve, 2))
  }
}

/** A device with an engine of the addon behind its transport; what the engine says of broken queues is in `reasons`. */
export function aServedBoard<D extends VirtioDevice>(create: (memory: MappedMemory, reasons: string[]) => D) {
  const memory = new MappedMemory()
  const plain = { shared: false, hugePageBytes: 0, mergeable: false, prefault: false, thp: false, reserve: true }
  memory.map(ram.guestAddress, ram.sizeBytes, plain)
  const gateway = new CountingGateway()
  const reasons: string[] = []
  const board = aBoard(create(memory, reasons), {
    memory,
    router: new InterruptRoutes(gateway, 24),
    createEventFd: () => new (addon().EventFd)(),
  })
  return {
    ...{ ...board, reasons },
    interrupted: (vector: number) => until(`vector ${vector}`, () => gateway.vectors[vector]?.drain() === true),
    isInterrupted: (vector: number) => gateway.vectors[vector]?.isPending() === true,
    close: async () => {
      await board.transport.close()
      await board.device.close()
      memory.close()
    },
  }
}

/** A disk of 1 MiB, whose second sector begins with a text. */
export function aServedDisk(content = 'disk content') {
  const folder = mkdtempSync(join(tmpdir(), 'tsvmm-'))
  const fd = openSync(join(folder, 'disk.img'), 'wx+')
  ftruncateSync(fd, diskBytes)
  writeSync(fd, content, 512)
  const board = aServedBoard((memory, reasons) => {
    const shape = { name: '_disk0', sizeBytes: diskBytes, isReadOnly: false }
    return new VirtioBlk({
      ...{ ...shape, logicalBlockBytes: 512, physicalBlockBytes: 512, queues: 2, queueSize: 128 },
      ...{ canDiscard: true, canWriteZeroes: true },
      createBackend: onFailure =>
        createBlockBackend(memory.native, {
          ...{ name: shape.name, serial: 'serial' },
          source: { fd, sizeBytes: diskBytes, readOnly: false, alignmentBytes: 1, sparse: true },
          onFault: reason => reasons.push(reason),
          onFailure: (queue, reason) => {
            reasons.push(`${queue}: ${reason}`)
            onFailure(queue, reason)
          },
        }),
      closeDisk: () => closeSync(fd),
      claimDisk: () => {},
      cedeDisk: async () => {},
      diskDescriptor: () => fd,
    })
  })
  return {
    ...board,
    close: async () => {
      await board.close()
      rmSync(folder, { recursive: true })
    },
  }
}

export function aServedConsole() {
  const chardev = new FakeChardev()
  const board = aServedBoard((memory, reasons) => {
    return new VirtioConsole({
      name: '__console',
      chardev,
      createBackend: handlers =>
        createMailboxBackend(memory.native, '__console', {
          onChain: handlers.onChain,
          onFailure: (queue, reason) => {
            reasons.push(`${queue}: ${reason}`)
            handlers.onFailure(queue, reason)
          },
        }),
    })
  })
  return { ...board, chardev }
}
