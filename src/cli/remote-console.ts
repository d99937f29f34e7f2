import { closeSync, constants, openSync, statSync } from 'node:fs'
import { connect } from 'node:net'
import { ReadStream } from 'node:tty'
import { DescriptorWriter } from '../backends/descriptor-writer.ts'
import { StreamWriter } from '../backends/stream-writer.ts'
import { reasonOf, TsvmmError } from '../util/errors.ts'

/** The machine's end of a console. */
export interface RemoteConsole {
  write(bytes: Uint8Array): void
  close(): void
}

export interface RemoteHandlers {
  onBytes(bytes: Uint8Array): void
  /** Nobody is there any more; why, where that is an error. */
  onEnd(error?: TsvmmError): void
}

/** A pseudo terminal or a socket. Throws ERR_CONSOLE. */
export async function openPlace(path: string, handlers: RemoteHandlers): Promise<RemoteConsole> {
  try {
    return statSync(path).isSocket() ? await openSocket(path, handlers) : openTerminal(path, handlers)
  } catch (cause) {
    throw new TsvmmError('ERR_CONSOLE', { reason: `${path}: ${reasonOf(cause)}` }, { cause })
  }
}

function openSocket(path: string, { onBytes, onEnd }: RemoteHandlers): Promise<RemoteConsole> {
  const { promise, resolve, reject } = Promise.withResolvers<RemoteConsole>()
  const socket = connect(path)
  const writer = new StreamWriter(socket)
  socket.on('error', reject)
  socket.on('data', onBytes)
  socket.on('close', () => onEnd())
  socket.on('connect', () =>
    resolve({
      write: bytes => writer.write(bytes),
      close: () => {
        writer.close()
        socket.destroy()
      },
    }),
  )
  return promise
}

/** It is in raw mode already. */
function openTerminal(path: string, { onBytes, onEnd }: RemoteHandlers): RemoteConsole {
  const writeFd = openSync(path, constants.O_WRONLY | constants.O_NOCTTY | constants.O_NONBLOCK)
  const writer = new DescriptorWriter(writeFd)
  const input = new ReadStream(openSync(path, constants.O_RDONLY | constants.O_NOCTTY))
  // A pseudo terminal that its machine has closed is an error to read.
  input.on('error', () => onEnd())
  input.on('close', () => onEnd())
  input.on('data', onBytes)
  return {
    write: bytes => writer.write(bytes),
    close: () => {
      writer.close()
      closeSync(writeFd)
      input.destroy()
    },
  }
}
