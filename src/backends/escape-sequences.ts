/** Ctrl-A */
const escapeByte = 0x01
const commands: Readonly<Record<string, 'end' | 'break'>> = { x: 'end', b: 'break' }

/** What a person typed: bytes for the guest, or a wish. */
export type Typed = Uint8Array | 'end' | 'break'

/**
 * Finds what is meant for the machine and not for the guest: Ctrl-A x ends it, Ctrl-A b sends a break, Ctrl-A Ctrl-A one
 * Ctrl-A. Ctrl-A and any other key are the guest's, both.
 */
export class EscapeSequences {
  #isEscaped = false

  /** Sequences may be cut anywhere. */
  parse(bytes: Uint8Array): Typed[] {
    const typed: Typed[] = []
    let kept: number[] = []
    for (const byte of bytes) {
      if (!this.#isEscaped) {
        if (byte === escapeByte) this.#isEscaped = true
        else kept.push(byte)
        continue
      }
      this.#isEscaped = false
      const command = commands[String.fromCharCode(byte)]
      if (command !== undefined) {
        if (kept.length > 0) typed.push(Uint8Array.from(kept))
        kept = []
        typed.push(command)
      } else if (byte === escapeByte) kept.push(escapeByte)
      else kept.push(escapeByte, byte)
    }
    if (kept.length > 0) typed.push(Uint8Array.from(kept))
    return typed
  }
}
