/** Where a GPT has what, in bytes and of sectors of 512 of them (UEFI 2.10 §5.3). */
export const sectorBytes = 512

/** Of a header (§5.3.2). Numbers of sectors have 64 bits, all others 32. */
export const headerFields = {
  signature: 0,
  revision: 8,
  headerBytes: 12,
  digest: 16,
  /** Its own sector, and that of the other header. */
  own: 24,
  other: 32,
  firstUsable: 40,
  lastUsable: 48,
  diskGuid: 56,
  tableAt: 72,
  entryCount: 80,
  entryBytes: 84,
  tableDigest: 88,
} as const
export const headerSignature = 'EFI PART'
export const headerBytes = 92

/** Of an entry of the table (§5.3.3): a type of zeroes is no partition; the last sector belongs to it. */
export const entryFields = { type: 0, guid: 16, firstSector: 32, lastSector: 40, name: 56 } as const
/** In UTF-16, with zeroes behind it. */
export const nameBytes = 72
