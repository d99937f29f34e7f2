import { join } from 'node:path'
import { HttpControl, QmpControl } from './controls.ts'
import type { Guest, Subject } from './subjects.ts'

/** What a running VMM is told by its own protocol. */
export interface Control extends Disposable {
  pause(): Promise<void>
  /** Saves the machine into a directory that is there and empty. */
  save(directory: string, form: 'image' | 'zstd'): Promise<void>
  resume(): Promise<void>
}

/** A process that makes a machine of what was saved, and runs it. */
export interface Restore {
  /** Of the figures: the subject's name, or one with a mode of its own. */
  readonly name: string
  command(guest: Guest, directory: string, socket: string): readonly string[]
  /** What it must be told beside, as soon as it can be. */
  drive?(socket: string, directory: string): Promise<void>
}

/** Restores a machine in a process that is there already. */
export interface WarmRestore {
  command(socket: string): readonly string[]
  ready(socket: string): Promise<HttpControl>
  restore(control: HttpControl, directory: string): Promise<void>
  /** So that it can restore another one; absent where a process can do so only once. */
  forget?(control: HttpControl): Promise<void>
}

/** A VMM that can save a machine with its serial console on standard output, and go on. */
export interface SnapshotSubject {
  readonly name: string
  /** `directory` is for files that the subject needs. */
  command(guest: Guest, directory: string, socket: string): readonly string[]
  control(socket: string): Promise<Control>
  readonly hasZstd?: boolean
  readonly restores: readonly Restore[]
  readonly warm?: WarmRestore
}

const api = '/api/v1'

async function httpControl(socket: string, path: string): Promise<HttpControl> {
  const http = new HttpControl(socket)
  await http.ready(path)
  return http
}

/** Cloud Hypervisor's API, which is ours, too. */
async function cloudHypervisorControl(socket: string): Promise<Control> {
  const http = await httpControl(socket, `${api}/vmm.ping`)
  return {
    pause: () => http.send('PUT', `${api}/vm.pause`),
    save: (directory, form) => {
      const extra = form === 'zstd' ? { memory_form: 'Zstd' } : {}
      return http.send('PUT', `${api}/vm.snapshot`, { destination_url: `file://${directory}`, ...extra })
    },
    resume: () => http.send('PUT', `${api}/vm.resume`),
    [Symbol.dispose]: () => http[Symbol.dispose](),
  }
}

function ourselves(subject: Subject): SnapshotSubject {
  const { name, program } = subject
  return {
    name,
    command: (guest, directory, socket) => [...subject.command(guest, directory), '--api-socket', socket],
    control: cloudHypervisorControl,
    hasZstd: true,
    restores: [{ name, command: (_, directory) => [...program, 'restore', directory] }],
    warm: {
      command: socket => [...program, '--api-socket', socket],
      ready: socket => httpControl(socket, `${api}/vmm.ping`),
      restore: (http, directory) => {
        return http.send('PUT', `${api}/vm.restore`, { source_url: `file://${directory}`, resume: true })
      },
      forget: http => http.send('PUT', `${api}/vm.delete`),
    },
  }
}

function cloudHypervisor(subject: Subject): SnapshotSubject {
  const restore = (name: string, mode: string): Restore => ({
    name,
    command: (_, directory) => {
      return [...subject.program, '--restore', `source_url=file://${directory},resume=true,memory_restore_mode=${mode}`]
    },
  })
  return {
    name: subject.name,
    command: (guest, directory, socket) => [...subject.command(guest, directory), '--api-socket', socket],
    control: cloudHypervisorControl,
    restores: [restore(subject.name, 'copy'), restore(`${subject.name}-ondemand`, 'ondemand')],
  }
}

function firecracker(subject: Subject): SnapshotSubject {
  const load = (http: HttpControl, directory: string) =>
    http.send('PUT', '/snapshot/load', {
      snapshot_path: join(directory, 'state'),
      mem_backend: { backend_type: 'File', backend_path: join(directory, 'memory') },
      resume_vm: true,
    })
  const ready = (socket: string) => httpControl(socket, '/version')
  const program = (socket: string) => [...subject.program, '--api-sock', socket]
  return {
    name: subject.name,
    command(guest, directory, socket) {
      const [, , ...config] = subject.command(guest, directory)
      return [...program(socket), ...config]
    },
    async control(socket) {
      const http = await ready(socket)
      return {
        pause: () => http.send('PATCH', '/vm', { state: 'Paused' }),
        save: directory =>
          http.send('PUT', '/snapshot/create', {
            snapshot_type: 'Full',
            snapshot_path: join(directory, 'state'),
            mem_file_path: join(directory, 'memory'),
          }),
        resume: () => http.send('PATCH', '/vm', { state: 'Resumed' }),
        [Symbol.dispose]: () => http[Symbol.dispose](),
      }
    },
    restores: [
      {
        name: subject.name,
        command: (_, _directory, socket) => program(socket),
        async drive(socket, directory) {
          using http = await ready(socket)
          await load(http, directory)
        },
      },
    ],
    warm: { command: program, ready, restore: load },
  }
}

/** Migrates into a file, which leaves zero pages out, and goes on. */
function qemu(subject: Subject): SnapshotSubject {
  const file = (directory: string) => join(directory, 'migration')
  return {
    name: subject.name,
    command: (guest, directory, socket) => {
      return [...subject.command(guest, directory), '-qmp', `unix:${socket},server=on,wait=off`]
    },
    async control(socket) {
      const qmp = await QmpControl.connect(socket)
      await qmp.send('migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] })
      await qmp.send('migrate-set-parameters', { 'max-bandwidth': 100 * 1024 ** 3 })
      return {
        // It stops by itself; one that was stopped before would not run when restored.
        pause: async () => {},
        save: directory => {
          return qmp.event('MIGRATION', 'completed', () => {
            return qmp.send('migrate', { uri: `exec:cat > ${file(directory)}` })
          })
        },
        resume: () => qmp.send('cont'),
        [Symbol.dispose]: () => qmp[Symbol.dispose](),
      }
    },
    restores: [
      {
        name: subject.name,
        command: (guest, directory) => {
          return [...subject.command(guest, directory), '-incoming', `exec:cat ${file(directory)}`]
        },
      },
    ],
  }
}

/** Those that can save machines. */
export function snapshotSubjects(all: readonly Subject[]): SnapshotSubject[] {
  return all.flatMap(subject => {
    switch (subject.name) {
      case 'tsvmm':
        return [ourselves(subject)]
      case 'qemu-microvm':
        return [qemu(subject)]
      case 'cloud-hypervisor':
        return [cloudHypervisor(subject)]
      case 'firecracker':
        return [firecracker(subject)]
      default:
        return []
    }
  })
}
