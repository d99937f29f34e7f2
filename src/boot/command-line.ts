import { TsvmmError } from '../util/errors.ts'

/** The command line as the kernel reads it, up to its zero byte. `maximumBytes` is without that. Throws ERR_CMDLINE. */
export function encodeCommandLine(commandLine: string, maximumBytes: number): Uint8Array<ArrayBuffer> {
  if (commandLine.includes('\0')) throw new TsvmmError('ERR_CMDLINE', { reason: 'it contains a zero byte' })
  const bytes = new TextEncoder().encode(`${commandLine}\0`)
  if (bytes.length - 1 > maximumBytes) {
    const reason = `${bytes.length - 1} bytes are too long; this kernel takes at most ${maximumBytes}`
    throw new TsvmmError('ERR_CMDLINE', { reason })
  }
  return bytes
}
