/** Beginnings of files that people give as kernels by mistake. */
const kinds: readonly (readonly [offset: number, magic: string, kind: string])[] = [
  [0, '1f8b', 'compressed with gzip; unpack it first'],
  [0, '28b52ffd', 'compressed with zstd; unpack it first'],
  [0, 'fd377a585a00', 'compressed with xz; unpack it first'],
  [0, '425a68', 'compressed with bzip2; unpack it first'],
  [0, '894c5a4f', 'compressed with lzop; unpack it first'],
  [0, '04224d18', 'compressed with LZ4; unpack it first'],
  [0, '02214c18', 'compressed with LZ4; unpack it first'],
  [0, '303730373031', 'a cpio archive; is it the initramfs?'],
  [0, '514649fb', 'a disk image (qcow2)'],
  [0x38, '41524d64', 'an AArch64 kernel'],
  [0, '4d5a', 'an EFI program'],
]

/** And as firmware. */
const otherFirmware: typeof kinds = [
  [0x28, '5f465648', 'a bare UEFI firmware volume, made for another VMM; CLOUDHV.fd is an ELF'],
  [0x202, '48647253', 'a bzImage; give it as --kernel'],
]

/** What a file is that is no kernel, in a few words for an error message. */
export function describeFile(header: Uint8Array, wanted: string): string {
  return `not a kernel: ${kindOf(header, kinds) ?? `${wanted} is needed`}`
}

/** The same of a file that is no firmware. */
export function describeFirmware(header: Uint8Array): string {
  return `not firmware: ${kindOf(header, [...otherFirmware, ...kinds]) ?? 'an ELF with a PVH note is needed'}`
}

function kindOf(header: Uint8Array, known: typeof kinds): string | undefined {
  const bytes = Buffer.from(header)
  return known.find(([offset, magic]) => bytes.toString('hex', offset, offset + magic.length / 2) === magic)?.[2]
}
