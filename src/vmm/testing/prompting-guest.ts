import { buildElf, word } from '../../boot/testing/elf-builder.ts'

const codeAddress = 0x10_0000

/** out 0x3f8, al */
const put = [0x66, 0xba, 0xf8, 0x03, 0xee]

/**
 * A kernel for tests that any KVM can run, with a prompt on its serial port: it answers the first line with `1`, the next with `2`
 * and so on, and powers off when it reads a `p`.
 */
export function promptingKernel(): Uint8Array {
  const code = [
    ...[0xb3, 0x30], // mov bl, '0'
    ...[0xb0, 0x23, ...put, 0xb0, 0x20, ...put], // prompt: '# '
    ...[0x66, 0xba, 0xfd, 0x03, 0xec], // read: in al, 0x3fd
    ...[0xa8, 0x01, 0x74, 0xf7], // test al, 1; jz read
    ...[0x66, 0xba, 0xf8, 0x03, 0xec], // in al, 0x3f8
    ...[0x3c, 0x70, 0x74, 0x16], // cmp al, 'p'; je off
    ...[0x3c, 0x0a, 0x75, 0xea], // cmp al, '\n'; jne read
    ...[0xfe, 0xc3, 0x88, 0xd8, ...put], // inc bl; mov al, bl
    ...[0xb0, 0x0a, ...put], // '\n'
    ...[0xeb, 0xca], // jmp prompt
    ...[0x66, 0xba, 0x00, 0x06, 0xb0, 0x34, 0xee], // off: out 0x600, 0x34 (ACPI soft off)
    ...[0xf4, 0xeb, 0xfd], // hlt, for ever
  ]
  return buildElf({
    segments: [{ address: codeAddress, contents: Uint8Array.from(code) }],
    notes: [{ contents: word(codeAddress) }],
  })
}
