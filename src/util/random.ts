import { closeSync, openSync, readSync } from 'node:fs'

/** Random bytes from the kernel: loading node:crypto for a few of them would cost every start 5 ms. */
export function randomBytes(lengthBytes: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(lengthBytes)
  const fd = openSync('/dev/urandom', 'r')
  try {
    for (let length = 0; length < lengthBytes; ) length += readSync(fd, bytes, { offset: length })
    return bytes
  } finally {
    closeSync(fd)
  }
}
