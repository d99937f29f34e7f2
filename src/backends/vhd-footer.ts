/** The last sector of a VHD ("Virtual Hard Disk Image Format Specification" 1.0, "Hard Disk Footer Format"), big-endian. */
const cookie = 'conectix'
const fields = { version: 12, currentSize: 48, diskType: 60, checksum: 64 }
const majorVersion = 1
const fixed = 2
const otherTypes: Readonly<Record<number, string>> = { 3: 'dynamic', 4: 'differencing' }

export const vhdFooterBytes = 512

/** The size of the disk in a fixed VHD of `fileBytes`. Throws an Error that says what is wrong with the footer. */
export function readFixedVhd(footer: Uint8Array, fileBytes: number): number {
  const bytes = Buffer.from(footer)
  if (bytes.length !== vhdFooterBytes || bytes.toString('latin1', 0, cookie.length) !== cookie) {
    throw new Error('is no fixed VHD: it has no footer')
  }
  if (bytes.readUInt32BE(fields.checksum) !== checksumOf(bytes)) throw new Error('the checksum of its footer is wrong')
  const version = bytes.readUInt16BE(fields.version)
  if (version !== majorVersion) throw new Error(`its version is not known: ${version}`)
  const type = bytes.readUInt32BE(fields.diskType)
  if (type !== fixed)
    throw new Error(`is a VHD that is ${otherTypes[type] ?? `of type ${type}`}: only fixed ones are supported`)
  const sizeBytes = bytes.readBigUInt64BE(fields.currentSize)
  const roomBytes = fileBytes - vhdFooterBytes
  if (sizeBytes === 0n || sizeBytes % 512n !== 0n || sizeBytes > BigInt(roomBytes)) {
    throw new Error(`its footer says that the disk has ${sizeBytes} bytes, there are ${roomBytes}`)
  }
  return Number(sizeBytes)
}

/** The one's complement of the sum of all bytes but the checksum's. */
function checksumOf(footer: Uint8Array): number {
  const isOther = (index: number) => index < fields.checksum || index >= fields.checksum + 4
  const sum = footer.reduce((total, byte, index) => (isOther(index) ? total + byte : total), 0)
  return ~sum >>> 0
}
