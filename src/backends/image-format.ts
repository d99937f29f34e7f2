/** What an image of each format begins with, and a fixed VHD ends with; `type` is what image_type calls it. */
const formats = {
  qcow2: { name: 'qcow2', type: 'qcow2' },
  vhdx: { name: 'VHDX', type: 'vhdx' },
  vhd: { name: 'VHD', type: 'vhd' },
  vmdk: { name: 'VMDK', type: 'vmdk' },
} as const

const signatures = [
  { format: formats.qcow2, signature: 'QFI\u00fb' },
  { format: formats.vhdx, signature: 'vhdxfile' },
  { format: formats.vhd, signature: 'conectix' },
  { format: formats.vmdk, signature: 'KDMV' },
  { format: formats.vmdk, signature: '# Disk DescriptorFile' },
] as const

export type ClaimedFormat = (typeof formats)[keyof typeof formats]

export const signatureBytes = 32
/** A VHD's footer fills the last sector. */
export const footerBytes = 512

/** The format that an image claims with its first bytes or its footer; undefined where it claims none and may be raw. */
export function claimedFormat(head: Uint8Array, footer: Uint8Array): ClaimedFormat | undefined {
  const starts = (bytes: Uint8Array, signature: string) =>
    Buffer.from(bytes).subarray(0, signature.length).equals(Buffer.from(signature, 'latin1'))
  if (starts(footer, 'conectix')) return formats.vhd
  return signatures.find(({ signature }) => starts(head, signature))?.format
}
