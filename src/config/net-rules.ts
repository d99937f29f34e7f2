import { checkQueueSize, checkUnique, fail } from './checks.ts'
import type { NetConfig } from './vm-config.ts'

/** IFNAMSIZ without its final zero. */
const tapNameMaximumBytes = 15
/** A packet is at most 65,562 bytes (virtio 1.2 §5.1.6.3.1), which two descriptors hold. */
const minimumQueueSize = 2

/** What must hold for network cards. Throws ERR_CONFIG_INVALID naming flag and key. */
export function checkNet(cards: readonly NetConfig[]): void {
  for (const card of cards) {
    checkQueues(card)
    checkAddresses(card)
    checkTap(card)
    const { mtu } = card
    if (mtu !== undefined && (mtu < 68 || mtu > 65535)) fail('--net', `mtu: ${mtu} is not in 68..65535`)
  }
  const present = (value: string | undefined) => (value === undefined ? [] : [value])
  checkUnique(
    '--net',
    'tap',
    cards.flatMap(({ tap }) => present(tap)),
  )
  checkUnique(
    '--net',
    'fd',
    cards.flatMap(({ fds }) => fds?.map(String) ?? []),
  )
}

function checkQueues({ num_queues, queue_size, fds }: NetConfig): void {
  checkQueueSize('--net', queue_size, minimumQueueSize)
  if (num_queues < 2 || num_queues % 2 !== 0) fail('--net', `num_queues: ${num_queues} is not a number of pairs`)
  if (num_queues > 512) fail('--net', `num_queues: ${num_queues} is more than 512`)
  if (fds !== undefined && fds.length * 2 !== num_queues) {
    fail('--net', `fd: ${fds.length} for num_queues=${num_queues}; each pair needs one`)
  }
  if (fds?.some(fd => fd <= 2) === true) fail('--net', 'fd: 0 to 2 are the standard streams')
}

function checkAddresses({ mac, host_mac, ip, mask }: NetConfig): void {
  checkMac('mac', mac)
  checkMac('host_mac', host_mac)
  if (ip !== undefined && parseIpv4(ip) === undefined) fail('--net', `ip: ${ip} is not an IPv4 address`)
  if (mask === undefined) return
  if (ip === undefined) fail('--net', 'mask: needs ip')
  const bits = parseIpv4(mask)
  if (bits === undefined || !/^1*0*$/.test(bits.toString(2).padStart(32, '0'))) {
    fail('--net', `mask: ${mask} is not an IPv4 network mask`)
  }
}

function checkTap({ tap, fds, ip, host_mac }: NetConfig): void {
  if (fds !== undefined) {
    if (tap !== undefined) fail('--net', 'fd: cannot be given together with tap')
    if (ip !== undefined) fail('--net', 'ip: cannot be given together with fd')
    if (host_mac !== undefined) fail('--net', 'host_mac: cannot be given together with fd')
  }
  if (tap === undefined) return
  if (Buffer.byteLength(tap) > tapNameMaximumBytes) fail('--net', `tap: ${tap} is longer than 15 bytes`)
  // The kernel makes a number of %d, so that the name would be another one.
  if (/[/\s:%]/.test(tap) || tap === '.' || tap === '..') fail('--net', `tap: ${tap} is no name for an interface`)
}

function checkMac(key: string, value: string | undefined): void {
  if (value === undefined) return
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(value)) fail('--net', `${key}: ${value} is not a MAC address`)
  if ((Number.parseInt(value.slice(0, 2), 16) & 1) !== 0) fail('--net', `${key}: ${value} is a multicast address`)
  if (/^[0:]+$/.test(value)) fail('--net', `${key}: ${value} is no address of a card`)
}

function parseIpv4(text: string): number | undefined {
  const parts = text.split('.')
  if (parts.length !== 4 || !parts.every(part => /^\d{1,3}$/.test(part) && Number(part) <= 255)) return undefined
  return parts.reduce((address, part) => address * 256 + Number(part), 0)
}
