import { HttpControl, QmpControl } from './controls.ts'
import type { Guest, Subject } from './subjects.ts'

/** A VMM that can move a machine with its serial console on standard output to another process of its own. */
export interface MigrationSubject {
  readonly name: string
  /** From process to process of one host, without a copy. */
  readonly isLocal: boolean
  /** The program that has the machine. */
  source(guest: Guest, socket: string): readonly string[]
  /** The program that will have it; it waits at that address, once `receive` has been called. */
  destination(guest: Guest, socket: string, url: string): readonly string[]
  receive(socket: string, url: string): Promise<Disposable>
  /** Resolves when the machine is there. */
  send(socket: string, url: string): Promise<void>
}

const api = '/api/v1'
/** Every peer takes what there is; none is to be held up by what it thinks is the speed of a network. */
const unlimitedBytesPerSecond = 100 * 1024 ** 3

/** Cloud Hypervisor's API, which is ours, too. */
function byApi(
  { name, program, command }: Subject,
  send: (http: HttpControl, url: string) => Promise<void>,
): MigrationSubject {
  return {
    ...{ name, isLocal: false },
    source: (guest, socket) => [...command(guest, ''), '--api-socket', socket],
    destination: (_, socket) => [...program, '--api-socket', socket],
    async receive(socket, url) {
      const http = new HttpControl(socket)
      await http.ready(`${api}/vmm.ping`)
      // Answered when the machine has come.
      http.send('PUT', `${api}/vm.receive-migration`, { receiver_url: url }).catch(() => {})
      return http
    },
    async send(socket, url) {
      using http = new HttpControl(socket)
      await send(http, url)
    },
  }
}

function ourselves(subject: Subject): MigrationSubject {
  return byApi(subject, (http, url) => http.send('PUT', `${api}/vm.send-migration`, { destination_url: url }))
}

/** It answers at once, and ends when the machine has gone. */
function cloudHypervisor(subject: Subject): MigrationSubject {
  return byApi(subject, async (http, url) => {
    await http.send('PUT', `${api}/vm.send-migration`, { destination_url: url })
    await http.gone(`${api}/vmm.ping`)
  })
}

function handingOver(subject: Subject): MigrationSubject {
  const send = (http: HttpControl, url: string) =>
    http.send('PUT', `${api}/vm.send-migration`, { destination_url: url, local: true })
  const { source, ...moving } = byApi(subject, send)
  return {
    ...moving,
    isLocal: true,
    source: (guest, socket) => source({ ...guest, sharesMemory: true }, socket),
  }
}

function qemu(subject: Subject): MigrationSubject {
  const command = (guest: Guest, socket: string) => {
    return [...subject.command(guest, ''), '-qmp', `unix:${socket},server=on,wait=off`]
  }
  return {
    ...{ name: subject.name, isLocal: false },
    source: command,
    destination: (guest, socket, url) => [...command(guest, socket), '-incoming', url],
    receive: socket => QmpControl.connect(socket),
    async send(socket, url) {
      using qmp = await QmpControl.connect(socket)
      await qmp.send('migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] })
      await qmp.send('migrate-set-parameters', { 'max-bandwidth': unlimitedBytesPerSecond })
      await qmp.event('MIGRATION', 'completed', () => qmp.send('migrate', { uri: url }))
    },
  }
}

/** Those that can move machines. */
export function migrationSubjects(all: readonly Subject[]): MigrationSubject[] {
  return all.flatMap(subject => {
    switch (subject.name) {
      case 'tsvmm':
        return [ourselves(subject), handingOver(subject)]
      case 'qemu-q35':
        return [qemu(subject)]
      case 'cloud-hypervisor':
        return [cloudHypervisor(subject)]
      default:
        return []
    }
  })
}
