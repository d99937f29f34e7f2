/** Which byte of the text's sixteen goes where: the first three groups are little-endian, the rest in order. */
const mixedEndianOrder = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15] as const

/**
 * The 16 bytes of a UUID as firmware tables hold it (SMBIOS 3.2 §7.2.1, ACPI 6.5 §19.6.142): the first three groups
 * little-endian. Takes hexadecimal digits of either case, with hyphens at 8-4-4-4-12 or without; undefined for all else.
 */
export function mixedEndianUuid(text: string): Uint8Array<ArrayBuffer> | undefined {
  const isUuid = /^[0-9a-f]{32}$|^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)
  if (!isUuid) return undefined
  const ordered = Buffer.from(text.replaceAll('-', ''), 'hex')
  return Uint8Array.from(mixedEndianOrder, index => ordered[index] ?? 0)
}
