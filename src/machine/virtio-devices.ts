import { handedFile, type OpenDisk, openDisk } from '../backends/disk.native.ts'
import { openRandomSource } from '../backends/random-source.ts'
import { handedTap, openTap, sendFrame, tapOffloads } from '../backends/tap.native.ts'
import type { DiskConfig, NetConfig, RateLimiterConfig } from '../config/vm-config.ts'
import type { KvmVirtualMachine } from '../hypervisor/kvm.native.ts'
import { VirtioBlk } from '../virtio/blk.ts'
import { VirtioConsole } from '../virtio/console.ts'
import type { VirtioDevice } from '../virtio/device.ts'
import {
  createBlockBackend,
  createMailboxBackend,
  createNetBackend,
  type GrowingBackend,
} from '../virtio/engines.native.ts'
import { LateBackend } from '../virtio/late-backend.ts'
import { netFeatures, VirtioNet } from '../virtio/net.ts'
import { VirtioRng } from '../virtio/rng.ts'
import type { Chardevs } from './chardevs.ts'
import { limiterOf, type SharedLimiter } from './rate-limits.ts'

/** Each opens what its configuration names and has nothing open where that fails. */

export async function consoleOf(chardevs: Chardevs, vm: KvmVirtualMachine): Promise<VirtioDevice> {
  await using opened = new AsyncDisposableStack()
  const chardev = opened.adopt(await chardevs.open('console'), each => each.close())
  const device = new VirtioConsole({
    name: '__console',
    chardev,
    createBackend: handlers => createMailboxBackend(vm.nativeMemory, '__console', handlers),
  })
  opened.move()
  return device
}

export interface DiskSurroundings {
  readonly vm: KvmVirtualMachine
  /** Limiters by the names of their groups. */
  readonly groups: ReadonlyMap<string, SharedLimiter>
  /** It is another one's until it is claimed. */
  readonly isClaimedLater: boolean
  /** Told of what is wrong with its image. */
  onFault(device: string, reason: string): void
}

/** `handed`: what another process has it open by. */
export async function diskOf(
  config: DiskConfig,
  { vm, groups, isClaimedLater, onFault }: DiskSurroundings,
  [fd]: readonly number[] = [],
): Promise<VirtioDevice> {
  const { path, readonly: isReadOnly, num_queues, queue_size, id } = config
  const name = id ?? path
  using opened = new DisposableStack()
  const disk = opened.adopt(await openDiskOf(config, isClaimedLater, fd), each => each.close())
  let backend: LateBackend | undefined
  let engine: GrowingBackend | undefined
  const { grow } = disk
  const growDisk = (sizeBytes: number) => {
    grow?.(sizeBytes)
    engine?.grow(sizeBytes)
  }
  const own = limiterOf(config.rate_limiter_config)
  const limiter = own ?? groups.get(config.rate_limit_group ?? '')
  const device = new VirtioBlk({
    name,
    sizeBytes: disk.sizeBytes,
    logicalBlockBytes: disk.logicalBlockBytes,
    physicalBlockBytes: Math.max(disk.logicalBlockBytes, disk.alignmentBytes),
    isReadOnly,
    queues: num_queues,
    queueSize: queue_size,
    canDiscard: disk.canDiscard,
    canWriteZeroes: disk.canWriteZeroes,
    createBackend: onFailure => {
      const make = () => {
        engine = createBlockBackend(vm.nativeMemory, {
          ...{ name, source: disk.source, serial: config.serial ?? name, limiter, onFailure },
          onFault: reason => onFault(name, `${path}: ${reason}`),
        })
        return engine
      }
      if (!disk.isOpenedAnew) return make()
      backend = new LateBackend(make)
      if (!isClaimedLater) backend.open()
      return backend
    },
    ...(own === undefined ? {} : { limiter: own }),
    ...(grow === undefined ? {} : { growDisk }),
    closeDisk: () => disk.close(),
    diskDescriptor: () => disk.fd,
    claimDisk: () => {
      disk.lock()
      backend?.open()
    },
    cedeDisk: async isHandedOver => {
      // It has the image open, too.
      backend?.close()
      await disk.unlock(isHandedOver)
    },
  })
  opened.move()
  return device
}

const imageFormats = { Qcow2: 'qcow2', FixedVhd: 'vhd', Vhdx: 'vhdx' } as const

async function openDiskOf(config: DiskConfig, isLockedLater: boolean, fd: number | undefined): Promise<OpenDisk> {
  const { path, readonly: isReadOnly, direct: isDirect, sparse: isSparse, image_type, backing_files } = config
  const options = {
    path,
    isReadOnly,
    isDirect,
    isSparse,
    isLockedLater,
    ...(fd === undefined ? {} : { file: handedFile(fd) }),
  }
  if (image_type === 'Raw' || image_type === 'Unknown') {
    return openDisk({ ...options, isFormatUnknown: image_type === 'Unknown' })
  }
  // Loaded where it is needed: a machine with raw disks does without it.
  const { openImage } = await import('../backends/disk-image.native.ts')
  return openImage({ ...options, format: imageFormats[image_type], mayHaveBackingFile: backing_files })
}

/** `handed`: what another process has its tap open by, which is as it is to be then. */
export function cardOf(config: NetConfig, vm: KvmVirtualMachine, handed?: readonly number[]): VirtioDevice {
  const { tap: tapName, fds, ip, mask, mac, host_mac, mtu, num_queues, queue_size, id } = config
  const name = id ?? tapName ?? 'net'
  if (mac === undefined) throw new RangeError(`${name} has no address: its configuration is not settled`)
  const queuePairs = num_queues / 2
  const hostMac = host_mac === undefined ? undefined : macBytes(host_mac)
  const limiters = directionsOf(config.rate_limiter_config)
  using opened = new DisposableStack()
  const settings = { name: tapName, fds, queuePairs, ip, mask, hostMac, mtu }
  const tap = opened.adopt(handed === undefined ? openTap(settings) : handedTap(handed, queuePairs), each =>
    each.close(),
  )
  const device = new VirtioNet({
    name,
    mac: macBytes(mac),
    mtu,
    queuePairs,
    queueSize: queue_size,
    offloads: { tso: config.offload_tso, ufo: config.offload_ufo, csum: config.offload_csum },
    createBackend: onFailure => createNetBackend(vm.nativeMemory, { name, tapFds: tap.fds, ...limiters, onFailure }),
    ...limiters,
    createControl: handlers => createMailboxBackend(vm.nativeMemory, `${name}_ctrl`, handlers),
    setGuestOffloads: features => tap.setOffloads(tapFlags(features)),
    sendFrame: frame => sendFrame(tap, frame),
    tapDescriptors: () => tap.fds,
    closeTap: () => tap.close(),
  })
  opened.move()
  return device
}

/** Each direction may do so much. */
function directionsOf(config: RateLimiterConfig | undefined) {
  const [receiveLimiter, transmitLimiter] = [limiterOf(config), limiterOf(config)]
  return receiveLimiter === undefined || transmitLimiter === undefined ? {} : { receiveLimiter, transmitLimiter }
}

export async function randomSourceOf(path: string, vm: KvmVirtualMachine): Promise<VirtioDevice> {
  await using opened = new AsyncDisposableStack()
  const source = opened.adopt(await openRandomSource(path), each => each.close())
  const device = new VirtioRng({
    name: '__rng',
    readRandom: lengthBytes => source.read(lengthBytes),
    createBackend: handlers => createMailboxBackend(vm.nativeMemory, '__rng', handlers),
    closeSource: () => source.close(),
  })
  opened.move()
  return device
}

function tapFlags(features: bigint): number {
  const on = (feature: bigint, flag: number) => ((features & feature) !== 0n ? flag : 0)
  return (
    on(netFeatures.guestCsum, tapOffloads.csum) |
    on(netFeatures.guestTso4, tapOffloads.tso4) |
    on(netFeatures.guestTso6, tapOffloads.tso6) |
    on(netFeatures.guestEcn, tapOffloads.ecn) |
    on(netFeatures.guestUfo, tapOffloads.ufo)
  )
}

function macBytes(text: string): Uint8Array {
  return Uint8Array.from(text.split(':'), part => Number.parseInt(part, 16))
}
