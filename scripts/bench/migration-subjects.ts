import { HttpControl, QmpControl } from './controls.ts'
import type { Guest, Subject } from './subjects.ts'

/** A VMM that can move a machine with its serial console on standard output to another process of its own. */
export interface MigrationSubject {
  readonly name: string
  /** The program that has the machine. */
  source(guest: Guest, socket: string): readonly string[]
  /** The program that will have it; it waits at that port of this host, once `receive` has been called. */
  destination(guest: Guest, socket: string, port: number): readonly string[]
  receive(socket: string, port: number): Promise<Disposable>
  /** Resolves when the machine is there. */
  send(socket: string, port: number): Promise<void>
}

const api = '/api/v1'
/** Every peer takes what there is; none is to be held up by what it thinks is the speed of a network. */
const unlimitedBytesPerSecond = 100 * 1024 ** 3

function address(port: number): string {
  return `tcp:127.0.0.1:${port}`
}

/** Cloud Hypervisor's API, which is ours, too. */
function byApi(subject: Subject, send: (http: HttpControl, port: number) => Promise<void>): MigrationSubject {
  return {
    name: subject.name,
    source: (guest, socket) => [...subject.command(guest, ''), '--api-socket', socket],
    destination: (_, socket) => [...subject.program, '--api-socket', socket],
    async receive(socket, port) {
      const http = new HttpControl(socket)
      await http.ready(`${api}/vmm.ping`)
      // Answered when the machine has come.
      http.send('PUT', `${api}/vm.receive-migration`, { receiver_url: address(port) }).catch(() => {})
      return http
    },
    async send(socket, port) {
      using http = new HttpControl(socket)
      await send(http, port)
    },
  }
}

function ourselves(subject: Subject): MigrationSubject {
  return byApi(subject, (http, port) =>
    http.send('PUT', `${api}/vm.send-migration`, { destination_url: address(port) }),
  )
}

/** It answers at once, and ends when the machine has gone. */
function cloudHypervisor(subject: Subject): MigrationSubject {
  return byApi(subject, async (http, port) => {
    await http.send('PUT', `${api}/vm.send-migration`, { destination_url: address(port) })
    await http.gone(`${api}/vmm.ping`)
  })
}

function qemu(subject: Subject): MigrationSubject {
  const command = (guest: Guest, socket: string) => {
    return [...subject.command(guest, ''), '-qmp', `unix:${socket},server=on,wait=off`]
  }
  return {
    name: subject.name,
    source: command,
    destination: (guest, socket, port) => [...command(guest, socket), '-incoming', address(port)],
    receive: socket => QmpControl.connect(socket),
    async send(socket, port) {
      using qmp = await QmpControl.connect(socket)
      await qmp.send('migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] })
      await qmp.send('migrate-set-parameters', { 'max-bandwidth': unlimitedBytesPerSecond })
      await qmp.event('MIGRATION', 'completed', () => qmp.send('migrate', { uri: address(port) }))
    },
  }
}

/** Those that can move machines. */
export function migrationSubjects(all: readonly Subject[]): MigrationSubject[] {
  return all.flatMap(subject => {
    switch (subject.name) {
      case 'tsvmm':
        return [ourselves(subject)]
      case 'qemu-q35':
        return [qemu(subject)]
      case 'cloud-hypervisor':
        return [cloudHypervisor(subject)]
      default:
        return []
    }
  })
}
