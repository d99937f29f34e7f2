/** By the upper three bits of the code. */
const stages = ['Firmware', 'Bootloader', 'Kernel', 'Userspace']

/** A code written to port 0x80 (0 to 255), in the words that tools which measure boot times look for. */
export function describeDebugCode(code: number, elapsedSeconds: number): string {
  const stage = stages[code >> 5] ?? 'Custom'
  return `[Debug I/O port: ${stage} code 0x${code.toString(16)}] ${elapsedSeconds.toFixed(6)} seconds`
}
