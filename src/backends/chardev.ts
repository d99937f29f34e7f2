/** Where a serial port or console goes on the host. */
export interface Chardev {
  /** Never blocks and never fails: output that nobody takes is dropped. */
  write(bytes: Uint8Array): void
  /** Who gets the input; one listener, set once. */
  onInput(listener: (bytes: Uint8Array) => void): void
  /** Back-pressure: while not wanted, input waits on the host. */
  setInputWanted(isWanted: boolean): void
  close(): Promise<void>
}

/** Takes output and gives no input. */
export const nullChardev: Chardev = {
  write: () => {},
  onInput: () => {},
  setInputWanted: () => {},
  close: async () => {},
}
