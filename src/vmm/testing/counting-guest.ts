import { buildElf, word } from '../../boot/testing/elf-builder.ts'
import { randomOf } from '../../util/testing/random.ts'

/** Where it counts, in 32 bits. */
export const counterAddress = 0x20_0000
/** What it writes to the debug port first of all, and never again. */
export const beginCode = 1
const codeAddress = 0x10_0000
export const ballastAddress = 0x30_0000

/**
 * A kernel for tests that any KVM can run: it counts in memory for ever, and writes to the debug port at every 4096th step.
 * `ballastBytes` of noise are in its memory.
 */
export function countingKernel(ballastBytes = 0): Uint8Array {
  const code = [
    ...[0xb0, beginCode], // mov al, beginCode
    ...[0xe6, 0x80], // out 0x80, al
    ...[0xb9, 0x00, 0x00, 0x20, 0x00], // mov ecx, counterAddress
    ...[0xff, 0x01], // inc dword [ecx]
    ...[0x66, 0xf7, 0x01, 0xff, 0x0f], // test word [ecx], 4095
    ...[0x75, 0xf7], // jnz inc
    ...[0x8a, 0x41, 0x01], // mov al, [ecx + 1]
    ...[0xe6, 0x80], // out 0x80, al
    ...[0xeb, 0xf0], // jmp inc
  ]
  return buildElf({
    segments: [
      { address: codeAddress, contents: Uint8Array.from(code) },
      ...(ballastBytes === 0 ? [] : [{ address: ballastAddress, contents: ballastOf(ballastBytes) }]),
    ],
    notes: [{ contents: word(codeAddress) }],
  })
}

export function ballastOf(lengthBytes: number): Uint8Array {
  const random = randomOf(1)
  return Uint8Array.from({ length: lengthBytes }, () => 256 * random())
}
