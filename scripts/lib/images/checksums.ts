/** A digest as distributions publish it. */
export interface Digest {
  readonly algorithm: 'sha256' | 'sha512'
  /** In lower case. */
  readonly hex: string
}

const algorithms: Readonly<Record<number, Digest['algorithm']>> = { 64: 'sha256', 128: 'sha512' }

/** A digest of that many hexadecimal digits, if they are. */
export function digestOf(hex: string): Digest | undefined {
  const algorithm = /^[0-9a-f]+$/i.test(hex) ? algorithms[hex.length] : undefined
  return algorithm && { algorithm, hex: hex.toLowerCase() }
}

/**
 * The digest of a file in a list: `HEX  NAME`, `HEX *NAME` (coreutils), or `SHA256 (NAME) = HEX` (BSD, Fedora), signed or not.
 * Throws where the file is not in it, or with two different ones.
 */
export function findDigest(list: string, name: string): Digest {
  const found = new Map<string, Digest>()
  for (const line of list.split('\n')) {
    const plain = /^([0-9a-f]+) [ *](.+?)\r?$/i.exec(line)
    const tagged = /^SHA\d+ \((.+)\) = ([0-9a-f]+)\r?$/i.exec(line)
    const [file, hex] = plain === null ? [tagged?.[1], tagged?.[2]] : [plain[2], plain[1]]
    const digest = file === name && hex !== undefined ? digestOf(hex) : undefined
    if (digest !== undefined) found.set(digest.hex, digest)
  }
  const [first, second] = found.values()
  if (first === undefined) throw new Error(`no digest of ${name} in the list of checksums`)
  if (second !== undefined) throw new Error(`two digests of ${name} in the list of checksums`)
  return first
}
