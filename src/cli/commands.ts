import {
  coredumpKeys,
  diskKeys,
  inspectKeys,
  netKeys,
  receiveMigrationKeys,
  removeDeviceKeys,
  resizeDiskKeys,
  resolveMigrationKeys,
  restoreKeys,
  sendMigrationKeys,
  snapshotKeys,
} from './keys.ts'
import type { OptionKeys } from './options.ts'

/** A command that drives a program that serves the API elsewhere. */
export interface RemoteCommand {
  readonly name: string
  readonly summary: string
  readonly method: 'GET' | 'PUT'
  readonly path: string
  /** It takes a file with the body of the request. */
  readonly takesBody?: boolean
  /** It takes these, or the first of them alone; the body is made of them. */
  readonly keys?: OptionKeys
  /** It can do without. */
  readonly isOptional?: boolean
}

/** In the order of help and reference. */
export const remoteCommands: readonly RemoteCommand[] = [
  { name: 'ping', summary: 'say who serves the API', method: 'GET', path: '/vmm.ping' },
  { name: 'info', summary: 'print configuration, state and devices of the machine', method: 'GET', path: '/vm.info' },
  {
    ...{ name: 'inspect', summary: 'list the components of the machine, or print the state of one', method: 'PUT' },
    ...{ path: '/tsvmm.inspect', keys: inspectKeys, isOptional: true },
  },
  { name: 'counters', summary: 'print what the devices have counted', method: 'GET', path: '/vm.counters' },
  {
    ...{ name: 'create', summary: 'create a machine from a JSON file, or from standard input where it is -' },
    ...{ method: 'PUT', path: '/vm.create', takesBody: true },
  },
  { name: 'boot', summary: 'boot it', method: 'PUT', path: '/vm.boot' },
  { name: 'pause', summary: 'stop it where it is', method: 'PUT', path: '/vm.pause' },
  { name: 'resume', summary: 'let it go on', method: 'PUT', path: '/vm.resume' },
  { name: 'reboot', summary: 'reset it', method: 'PUT', path: '/vm.reboot' },
  { name: 'power-button', summary: 'press its power button', method: 'PUT', path: '/vm.power-button' },
  { name: 'nmi', summary: 'send a non-maskable interrupt to its vCPUs', method: 'PUT', path: '/vm.nmi' },
  {
    ...{ name: 'add-disk', summary: 'add a disk; a guest that runs is told', method: 'PUT' },
    ...{ path: '/vm.add-disk', keys: diskKeys },
  },
  {
    ...{ name: 'add-net', summary: 'add a network card; a guest that runs is told', method: 'PUT' },
    ...{ path: '/vm.add-net', keys: netKeys },
  },
  {
    ...{ name: 'remove-device', summary: 'remove a disk or a card; a guest that runs is asked to give it up' },
    ...{ method: 'PUT', path: '/vm.remove-device', keys: removeDeviceKeys },
  },
  {
    ...{ name: 'resize-disk', summary: 'make a raw disk larger, and its image; the guest is told', method: 'PUT' },
    ...{ path: '/vm.resize-disk', keys: resizeDiskKeys },
  },
  {
    ...{ name: 'snapshot', summary: 'save it into a directory', method: 'PUT', path: '/vm.snapshot' },
    keys: snapshotKeys,
  },
  {
    ...{ name: 'coredump', summary: 'write its registers and memory into an ELF core file', method: 'PUT' },
    ...{ path: '/vm.coredump', keys: coredumpKeys },
  },
  {
    ...{ name: 'restore', summary: 'make it from a snapshot; without --api-socket, here and running', method: 'PUT' },
    ...{ path: '/vm.restore', keys: restoreKeys },
  },
  {
    ...{ name: 'send-migration', summary: 'move it to another host while it runs', method: 'PUT' },
    ...{ path: '/vm.send-migration', keys: sendMigrationKeys },
  },
  {
    ...{ name: 'receive-migration', method: 'PUT', path: '/vm.receive-migration', keys: receiveMigrationKeys },
    summary: 'wait for one from another host; without --api-socket, here',
  },
  {
    ...{ name: 'migration-progress', summary: 'say how far it is on its way', method: 'GET' },
    path: '/tsvmm.migration-progress',
  },
  { name: 'migration-cancel', summary: 'give a migration up', method: 'PUT', path: '/tsvmm.cancel-migration' },
  {
    ...{ name: 'migration-resolve', summary: 'decide a migration that is in doubt, for this side', method: 'PUT' },
    ...{ path: '/tsvmm.resolve-migration', keys: resolveMigrationKeys },
  },
  { name: 'shutdown', summary: 'cut its power; it can boot again', method: 'PUT', path: '/vm.shutdown' },
  { name: 'delete', summary: 'forget it', method: 'PUT', path: '/vm.delete' },
  { name: 'shutdown-vmm', summary: 'end it and the program that runs it', method: 'PUT', path: '/vmm.shutdown' },
]

/** A command with what was given to it. */
export interface ChosenCommand {
  readonly command: RemoteCommand
  /** The file with the body, `-` is standard input; or the keys that it is made of. */
  readonly argument?: string | undefined
  /** Answers are printed as they come. */
  readonly isJson: boolean
}
