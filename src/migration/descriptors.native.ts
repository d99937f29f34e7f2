import { HandedOver } from '../machine/handover.native.ts'
import { addon } from '../native/addon.ts'

/** As many as fit into one message (SCM_MAX_FD, unix(7)). */
const mostInMessage = 253
const threadName = 'descriptors'

/** Sends descriptors, which stay the caller's, over a connection, which is closed then. Rejects with what the system says. */
export async function sendDescriptors(connection: number, fds: readonly number[]): Promise<void> {
  const failed = Promise.withResolvers<never>()
  failed.promise.catch(() => {})
  let onWritten = () => {}
  const socket = new (addon().DescriptorSocket)({
    ...{ fd: connection, threadName, onChunk: () => {} },
    onWritten: () => onWritten(),
    onFailure: error => failed.reject(error),
  })
  try {
    for (let sent = 0; sent < fds.length; sent += mostInMessage) {
      const written = new Promise<void>(resolve => {
        onWritten = resolve
      })
      if (socket.write(Uint8Array.of(0), fds.slice(sent, sent + mostInMessage))) continue
      await Promise.race([written, failed.promise])
    }
  } finally {
    socket.close()
  }
}

/**
 * What a machine is handed over with: so many descriptors of each component, in this order, over a connection that is to come. Rejects
 * as receiveDescriptors().
 */
export async function receiveHandedOver(
  connection: Promise<number>,
  counts: readonly { readonly component: string; readonly count: number }[],
  lost: Promise<Error>,
): Promise<HandedOver> {
  const come = await Promise.race([connection, lost])
  if (come instanceof Error) throw come
  const total = counts.reduce((sum, { count }) => sum + count, 0)
  const fds = await receiveDescriptors(come, total, lost)
  return new HandedOver(counts.map(({ component, count }) => ({ component, fds: fds.splice(0, count) })))
}

/**
 * So many descriptors, the caller's to close, from a connection, which is closed then. Rejects with TypeError where others come, and
 * with what `lost` resolves with.
 */
async function receiveDescriptors(connection: number, count: number, lost: Promise<Error>): Promise<number[]> {
  const received: number[] = []
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const socket = new (addon().DescriptorSocket)({
    ...{ fd: connection, threadName, onWritten: () => {}, onFailure: reject },
    onChunk: (bytes, fds, isShort) => {
      received.push(...fds)
      if (isShort) reject(new TypeError('this process may not have so many descriptors'))
      else if (received.length > count) reject(new TypeError('more descriptors come than were announced'))
      else if (received.length === count) resolve()
      else if (bytes.length === 0) reject(new TypeError('fewer descriptors come than were announced'))
      else socket.read()
    },
  })
  try {
    if (count > 0) {
      socket.read()
      const error = await Promise.race([promise, lost])
      if (error !== undefined) throw error
    }
    return received
  } catch (error) {
    for (const fd of received) addon().closeDescriptor(fd)
    throw error
  } finally {
    socket.close()
    promise.catch(() => {})
  }
}
