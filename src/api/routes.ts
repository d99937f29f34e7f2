import * as z from 'zod/mini'
import type { DeviceList } from '../config/device-ids.ts'
import { asJson } from '../util/as-json.ts'
import { reasonOf, TsvmmError } from '../util/errors.ts'
import { describeIssue, seldomChecked } from '../util/issues.ts'
import { migrationInfo } from '../vmm/vm-info.ts'
import type { Vmm } from '../vmm/vmm.ts'
import {
  receiveMigrationSchema,
  receiveRequest,
  resolveMigrationSchema,
  sendMigrationSchema,
  sendRequest,
} from './migration-requests.ts'
import { openApi } from './openapi.ts'
import { withoutUnknown } from './read-config.ts'
import type { RequestDescriptors } from './request-descriptors.ts'
import {
  addedDeviceSchema,
  coredumpSchema,
  deviceSchema,
  inspectionSchema,
  inspectSchema,
  migrationProgressSchema,
  pingSchema,
  removeDeviceSchema,
  resizeDiskSchema,
  resizeSchema,
  resizeZoneSchema,
  snapshotProgressSchema,
  vmConfigSchema,
  vmCountersSchema,
  vmInfoSchema,
} from './schemas.ts'
import { pathAt, restoreRequest, restoreSchema, snapshotRequest, snapshotSchema } from './snapshot-requests.ts'

export const apiRoot = '/api/v1'

/** What requests work on. */
export interface ApiContext {
  readonly vmm: Vmm
  /** What this program is, and the version of Cloud Hypervisor whose API it speaks. */
  readonly buildVersion: string
  readonly apiVersion: string
  /** Requests with fields that nobody knows are refused. */
  readonly isStrict?: boolean
  warn(message: string): void
}

/** One endpoint: all that server, documentation and tests know of it. */
export interface Route {
  readonly method: 'GET' | 'PUT'
  /** Below the root. */
  readonly path: string
  readonly summary: string
  /** Says what could not be done, where it could not. */
  readonly failure: string
  /** What the body must be; a body is refused where absent. */
  readonly request?: z.ZodMiniType
  /** What comes back with 200; 204 where absent. */
  readonly response?: z.ZodMiniType | 'json' | 'empty'
  /** There may be nothing to tell: 204 then. */
  readonly mayBeSilent?: boolean
  /** What is missing; the request is refused once its body was found right. */
  readonly unsupported?: string
  /** Takes what it has use for of the descriptors that came with the request. */
  run(context: ApiContext, body: unknown, descriptors: RequestDescriptors): unknown
}

type Action = 'boot' | 'pause' | 'resume' | 'shutdown' | 'reboot' | 'powerButton' | 'nmi' | 'delete'

function action(path: string, name: Action, summary: string, failure: string): Route {
  return { method: 'PUT', path, summary, failure, run: ({ vmm }) => vmm[name]() }
}

function later(path: string, request: z.ZodMiniType, summary: string): Route {
  const unsupported = path.slice(1)
  const run = () => {
    throw new TsvmmError('ERR_NOT_SUPPORTED', { what: unsupported })
  }
  return { method: 'PUT', path, summary, failure: `${unsupported} is not possible`, request, unsupported, run }
}

/** Adds a device to the machine, or to the configuration of one that does not run. */
function add(path: string, list: DeviceList, summary: string, failure: string): Route {
  return {
    ...{ method: 'PUT', path, summary, failure, request: deviceSchema },
    ...{ response: addedDeviceSchema, mayBeSilent: true },
    run: async (context, body, descriptors) => {
      const { vmm } = context
      const tell = (field: string) => leaveOut(context, field.replace(`${list}.0.`, ''), path)
      const known: unknown = Reflect.get(Object(withoutUnknown({ [list]: [body] }, tell)), list)
      const [device]: unknown[] = Array.isArray(known) ? known : []
      const place =
        list === 'net' ? await addCard(vmm, Object(device), descriptors) : await vmm.addDevice(list, Object(device))
      return place && { id: place.id, bdf: place.pciAddress }
    },
  }
}

/** A card's taps are those that came with the request, one for each pair of queues; numbers in it name nobody's. */
function addCard(
  vmm: Vmm,
  { fds: _fds, ...card }: { fds?: unknown; tap?: unknown; num_queues?: unknown },
  descriptors: RequestDescriptors,
) {
  const { count } = descriptors
  if (count === 0) return vmm.addDevice('net', card)
  const { num_queues = 2 * count } = card
  if (num_queues !== 2 * count) {
    const reason = `${count} descriptors came for num_queues=${num_queues}; each pair needs one`
    throw new TsvmmError('ERR_API_REQUEST', { reason })
  }
  const handed = descriptors.take(count)
  return vmm.addDevice('net', { ...card, num_queues, fds: handed.fds }, [handed])
}

/** Cloud Hypervisor takes fields that it does not know for those of a later version. */
function leaveOut({ isStrict = false, warn }: ApiContext, field: string, path: string): void {
  if (isStrict) throw new TsvmmError('ERR_API_REQUEST', { reason: `${field} is unknown` })
  warn(`${path.slice(1)}: ${field} is unknown and was left out`)
}

function knownConfig(context: ApiContext, config: unknown): unknown {
  if (typeof config !== 'object') throw new TsvmmError('ERR_API_REQUEST', { reason: 'the body is no object' })
  const known = withoutUnknown(config, field => leaveOut(context, field, '/vm.create'))
  refuseDescriptorNumbers(known)
  return known
}

/** A number in a request would name a descriptor of this process, whatever it may be. */
function refuseDescriptorNumbers(config: unknown): void {
  const cards: unknown = Reflect.get(Object(config), 'net')
  if (!Array.isArray(cards) || cards.every(card => Reflect.get(Object(card), 'fds') === undefined)) return
  throw new TsvmmError('ERR_API_REQUEST', { reason: 'net: fds: descriptors cannot be named by number in a request' })
}

/** The whole API, in the order of its documentation. */
export const routes: readonly Route[] = [
  {
    ...{ method: 'GET', path: '/vmm.ping', summary: 'Says who answers', failure: 'The VMM does not answer' },
    response: pingSchema,
    run: ({ buildVersion, apiVersion }) => ({
      build_version: buildVersion,
      version: apiVersion,
      pid: process.pid,
      features: [],
    }),
  },
  {
    ...{ method: 'PUT', path: '/vmm.shutdown', summary: 'Ends the machine and the program' },
    failure: 'The VMM could not shut down',
    response: 'empty',
    run: ({ vmm }) => vmm.close(),
  },
  {
    ...{ method: 'PUT', path: '/vm.create', summary: 'Keeps the configuration of a machine, without booting it' },
    failure: 'The VM could not be created',
    request: vmConfigSchema,
    run: (context, body) => context.vmm.create(knownConfig(context, body)),
  },
  action('/vm.delete', 'delete', 'Forgets the machine; shuts it down first', 'The VM could not be deleted'),
  action('/vm.boot', 'boot', 'Boots the machine', 'The VM could not boot'),
  action('/vm.pause', 'pause', 'Stops the machine where it is', 'The VM could not be paused'),
  action('/vm.resume', 'resume', 'Lets a paused machine go on', 'The VM could not resume'),
  action('/vm.shutdown', 'shutdown', 'Cuts the power; the machine can boot again', 'The VM could not shut down'),
  action('/vm.reboot', 'reboot', 'Resets the machine', 'The VM could not reboot'),
  action('/vm.power-button', 'powerButton', 'Presses the power button', 'The power button could not be pressed'),
  action('/vm.nmi', 'nmi', 'A non-maskable interrupt to every vCPU', 'The NMI could not be raised'),
  action('/vmm.nmi', 'nmi', 'As vm.nmi: older clients have it by this name', 'The NMI could not be raised'),
  {
    ...{ method: 'GET', path: '/vm.info', summary: 'Configuration, state and devices of the machine' },
    failure: 'The VM info is not available',
    response: vmInfoSchema,
    run: ({ vmm }) => vmm.info(),
  },
  {
    ...{ method: 'GET', path: '/vm.counters', summary: 'What the devices of the machine have counted' },
    failure: 'The VM counters are not available',
    response: vmCountersSchema,
    run: ({ vmm }) => vmm.counters(),
  },
  {
    ...{ method: 'PUT', path: '/tsvmm.inspect', summary: 'Components of the machine, or one of them with its state' },
    failure: 'The machine could not be inspected',
    request: inspectSchema,
    response: inspectionSchema,
    run: async ({ vmm }, body) => {
      const { component } = inspectSchema.parse(body, seldomChecked)
      if (component == null) return { components: vmm.components() }
      const { content, ...info } = await vmm.inspect(component)
      return { components: [{ ...info, ...(content === undefined ? {} : { content: asJson(content) }) }] }
    },
  },
  {
    ...{
      method: 'GET',
      path: '/tsvmm.snapshot-progress',
      summary: 'How much of the memory is saved, during vm.snapshot',
    },
    failure: 'The progress is not available',
    response: snapshotProgressSchema,
    run: ({ vmm }) => {
      const progress = vmm.snapshotProgress()
      if (progress === undefined) return {}
      const { bytesDone, bytesTotal, bytesWritten } = progress
      return { bytes_done: bytesDone, bytes_total: bytesTotal, bytes_written: bytesWritten }
    },
  },
  {
    ...{ method: 'GET', path: '/tsvmm.openapi', summary: 'This description, as OpenAPI 3.1' },
    failure: 'The description is not available',
    response: 'json',
    run: () => openApi(routes, apiRoot),
  },
  add('/vm.add-disk', 'disks', 'Adds a disk', 'The disk could not be added to the VM'),
  add('/vm.add-net', 'net', 'Adds a network card', 'The card could not be added to the VM'),
  {
    ...{ method: 'PUT', path: '/vm.remove-device', summary: 'Removes a disk or a card; a guest that runs is asked to' },
    failure: 'The device could not be removed from the VM',
    request: removeDeviceSchema,
    run: ({ vmm }, body) => vmm.removeDevice(removeDeviceSchema.parse(body, seldomChecked).id),
  },
  {
    ...{ method: 'PUT', path: '/vm.resize-disk', summary: 'Makes a raw disk larger, and its image; the guest is told' },
    failure: 'The disk could not be resized',
    request: resizeDiskSchema,
    run: ({ vmm }, body) => {
      const { id, desired_size } = resizeDiskSchema.parse(body, seldomChecked)
      return vmm.resizeDisk(id, desired_size)
    },
  },
  {
    ...{ method: 'PUT', path: '/vm.snapshot', summary: 'Saves the machine into a directory' },
    failure: 'The VM could not be snapshotted',
    request: snapshotSchema,
    run: ({ vmm }, body) => {
      const { path, options } = snapshotRequest(snapshotSchema.parse(body, seldomChecked))
      return vmm.snapshot(path, options)
    },
  },
  {
    ...{ method: 'PUT', path: '/vm.coredump', summary: 'Writes registers and memory into an ELF core file' },
    failure: 'The core of the VM could not be dumped',
    request: coredumpSchema,
    run: ({ vmm }, body) => {
      const { destination_url } = coredumpSchema.parse(body, seldomChecked)
      return vmm.coredump(pathAt('destination_url', destination_url))
    },
  },
  {
    ...{ method: 'PUT', path: '/vm.restore', summary: 'Makes the machine from a snapshot, paused where it was saved' },
    failure: 'The VM could not be restored',
    request: restoreSchema,
    run: ({ vmm }, body, descriptors) => {
      const { path, options, handed } = restoreRequest(restoreSchema.parse(body, seldomChecked), descriptors)
      return vmm.restore(path, options, handed)
    },
  },
  {
    ...{ method: 'PUT', path: '/vm.send-migration', summary: 'Moves the machine to another host while it runs' },
    failure: 'The VM could not be migrated',
    request: sendMigrationSchema,
    run: async ({ vmm, warn }, body) => {
      const { url, options, waits } = sendRequest(sendMigrationSchema.parse(body, seldomChecked))
      const started = Promise.withResolvers<void>()
      const sent = vmm.sendMigration(url, { ...options, onStarted: started.resolve })
      if (waits) return await sent
      // Clients that do not wait look at events and vm.info.
      sent.catch((error: unknown) => warn(`vm.send-migration: ${reasonOf(error)}`))
      await Promise.race([started.promise, sent])
    },
  },
  {
    ...{ method: 'PUT', path: '/vm.receive-migration', summary: 'Waits for a machine from another host' },
    failure: 'The VM could not be received',
    request: receiveMigrationSchema,
    run: ({ vmm }, body) => {
      const { url, options } = receiveRequest(receiveMigrationSchema.parse(body, seldomChecked))
      return vmm.receiveMigration(url, options)
    },
  },
  {
    ...{
      method: 'GET',
      path: '/tsvmm.migration-progress',
      summary: 'How far the machine is on its way to another host',
    },
    failure: 'The progress is not available',
    response: migrationProgressSchema,
    run: ({ vmm }) => {
      const progress = vmm.migrationProgress()
      return progress === undefined ? {} : migrationInfo(progress)
    },
  },
  {
    ...{ method: 'PUT', path: '/tsvmm.cancel-migration', summary: 'Gives a migration up, as long as that can be' },
    failure: 'The migration could not be given up',
    run: ({ vmm }) => vmm.cancelMigration(),
  },
  {
    ...{
      method: 'PUT',
      path: '/tsvmm.resolve-migration',
      summary: 'Decides a migration that is in doubt, for this side',
    },
    failure: 'The migration could not be decided',
    request: resolveMigrationSchema,
    run: ({ vmm }, body) => {
      const { id, decision } = resolveMigrationSchema.parse(body, seldomChecked)
      return vmm.resolveMigration(id, decision === 'Keep' ? 'keep' : 'discard')
    },
  },
  later('/vm.resize', resizeSchema, 'Changes vCPUs, memory or balloon'),
  later('/vm.resize-zone', resizeZoneSchema, 'Changes the size of a memory zone'),
  later('/vm.add-device', deviceSchema, 'Adds a device of the host'),
  later('/vm.add-user-device', deviceSchema, 'Adds a device that another process serves'),
  later('/vm.add-fs', deviceSchema, 'Adds a shared file system'),
  later('/vm.add-generic-vhost-user', deviceSchema, 'Adds a vhost-user device of any kind'),
  later('/vm.add-pmem', deviceSchema, 'Adds persistent memory'),
  later('/vm.add-vdpa', deviceSchema, 'Adds a vDPA device'),
  later('/vm.add-vsock', deviceSchema, 'Adds a socket device'),
]

/** What stands behind vm.create is checked by the configuration itself; everything else here. Throws ERR_API_REQUEST. */
export function checkBody({ request }: Route, body: unknown): unknown {
  if (request === undefined || request === vmConfigSchema) return body
  const result = z.safeParse(request, body, seldomChecked)
  if (result.success) return result.data
  const [issue] = result.error.issues
  const { path, reason } = issue === undefined ? { path: [], reason: 'is not valid' } : describeIssue(issue)
  throw new TsvmmError('ERR_API_REQUEST', { reason: [...path, reason].join(': ') })
}
