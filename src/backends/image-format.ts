/** What an image of each format begins with, and a fixed VHD ends with. */
const signatures = [
  { format: 'qcow2', signature: 'QFI\u00fb' },
  { format: 'VHDX', signature: 'vhdxfile' },
  { format: 'VHD', signature: 'conectix' },
  { format: 'VMDK', signature: 'KDMV' },
  { format: 'VMDK', signature: '# Disk DescriptorFile' },
] as const

export const signatureBytes = 32
/** A VHD's footer fills the last sector. */
export const footerBytes = 512

/** The format that an image claims with its first bytes or its footer; undefined where it claims none and may be raw. */
export function claimedFormat(head: Uint8Array, footer: Uint8Array): string | undefined {
  const starts = (bytes: Uint8Array, signature: string) =>
    Buffer.from(bytes).subarray(0, signature.length).equals(Buffer.from(signature, 'latin1'))
  if (starts(footer, 'conectix')) return 'VHD'
  return signatures.find(({ signature }) => starts(head, signature))?.format
}
