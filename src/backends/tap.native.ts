import { writeSync } from 'node:fs'
import { addon, type NativeTap } from '../native/addon.ts'
import { reasonOf, TsvmmError } from '../util/errors.ts'

/** TUNSETOFFLOAD (linux/if_tun.h). */
export const tapOffloads = { csum: 0x01, tso4: 0x02, tso6: 0x04, ecn: 0x08, ufo: 0x10 } as const

/** struct virtio_net_hdr_mrg_rxbuf (virtio 1.2 §5.1.6): nothing is asked of the host. */
const vnetHeaderBytes = 12

export interface TapSettings {
  readonly name: string | undefined
  readonly fds: readonly number[] | undefined
  readonly queuePairs: number
  readonly ip: string | undefined
  readonly mask: string | undefined
  readonly hostMac: Uint8Array | undefined
  readonly mtu: number | undefined
}

/** Opens a tap that is there or makes one, and sets it up as asked. Throws ERR_NET naming it. */
export function openTap(settings: TapSettings): NativeTap {
  const { name, fds, queuePairs, ip, mask, hostMac, mtu } = settings
  let tap: NativeTap | undefined
  try {
    tap = new (addon().Tap)({
      queuePairs,
      ...(name === undefined ? {} : { name }),
      ...(fds === undefined ? {} : { fds }),
    })
    if (ip !== undefined) tap.setIpv4(ip, mask ?? '255.255.255.0')
    if (hostMac !== undefined) tap.setMac(hostMac)
    if (mtu !== undefined) tap.setMtu(mtu)
    // Descriptors may come from a network namespace that is not this process's own.
    if (fds === undefined) tap.setUp()
    return tap
  } catch (cause) {
    tap?.close()
    const given = name === undefined ? 'tap' : `tap=${name}`
    const label = fds === undefined ? given : `fd=[${fds.join(',')}]`
    throw new TsvmmError('ERR_NET', { tap: label, reason: tapReason(cause) }, { cause })
  }
}

/** A tap that another process has set up, by its descriptors, which it takes over. Throws ERR_NET. */
export function handedTap(fds: readonly number[], queuePairs: number): NativeTap {
  const asTheyAre = { name: undefined, ip: undefined, mask: undefined, hostMac: undefined, mtu: undefined }
  try {
    return openTap({ ...asTheyAre, fds, queuePairs })
  } finally {
    for (const fd of fds) addon().closeDescriptor(fd)
  }
}

/** Sends a frame into the host's network, unless that has no room for it now. */
export function sendFrame(tap: NativeTap, frame: Uint8Array): void {
  const [fd] = tap.fds
  if (fd === undefined) return
  try {
    writeSync(fd, Buffer.concat([new Uint8Array(vnetHeaderBytes), frame]))
  } catch {
    // As with any other frame: whoever needs it sends it again.
  }
}

function tapReason(cause: unknown): string {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  if (code === 'EBUSY') return 'in use by another process'
  if (code === 'EPERM' || code === 'EACCES') return 'permission denied; making or opening it needs CAP_NET_ADMIN'
  if (code === 'EINVAL') return 'exists with other settings: is it a tap, and with as many queues (multi_queue)?'
  return reasonOf(cause)
}
