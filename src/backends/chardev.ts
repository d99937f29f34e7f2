/** In characters. */
export interface TerminalSize {
  readonly columns: number
  readonly rows: number
}

/** Where a serial port or console goes on the host. */
export interface Chardev {
  /** Never blocks and never fails: output that nobody takes is dropped. Keeps `bytes`, which must not change any more. */
  write(bytes: Uint8Array): void
  /** Who gets the input; one listener, set once. Input begins with it. */
  onInput(listener: (bytes: Uint8Array) => void): void
  /** Back-pressure: while not wanted, input waits on the host. What is under way may still come. */
  setInputWanted(isWanted: boolean): void
  /** Who hears of a break condition on the line; one listener, set once. Absent where there cannot be one. */
  onBreak?(listener: () => void): void
  /** The terminal's size, where it is a terminal. */
  readonly size?: TerminalSize | undefined
  /** Who hears of a new size; one listener, set once. */
  onResize?(listener: (size: TerminalSize) => void): void
  /** Where a client finds the other end: of a pseudo terminal or socket. */
  readonly path?: string
  /** Gives back every host resource. Idempotent. */
  close(): Promise<void>
}

/** Takes output and gives no input. */
export const nullChardev: Chardev = {
  write: () => {},
  onInput: () => {},
  setInputWanted: () => {},
  close: async () => {},
}
