/** How much of something is done. */
export interface Progress {
  readonly done: number
  readonly total: number
  /** What is told beside it. */
  readonly detail?: string
}

type Terminal = Pick<NodeJS.WriteStream, 'isTTY' | 'columns' | 'write'>

const barCells = 30
/** ECMA-48: erase in line, from the cursor to its end. */
const eraseToEnd = '\x1b[K'

/** One line that is written over and over on a terminal, and gone in the end; nothing anywhere else. */
export class ProgressBar implements Disposable {
  readonly #terminal: Terminal | undefined
  readonly #label: string
  #isShown = false

  constructor(label: string, stream: Terminal = process.stderr) {
    this.#label = label
    this.#terminal = stream.isTTY ? stream : undefined
  }

  /** Nobody would see it otherwise. */
  get isVisible(): boolean {
    return this.#terminal !== undefined
  }

  show({ done, total, detail = '' }: Progress): void {
    if (this.#terminal === undefined || total <= 0) return
    const share = Math.min(1, done / total)
    const filled = Math.floor(share * barCells)
    const percent = `${Math.floor(share * 100)}`.padStart(3)
    const line = `${this.#label} [${'#'.repeat(filled)}${' '.repeat(barCells - filled)}] ${percent} %  ${detail}`
    // A line that is wrapped could not be written over.
    this.#terminal.write(`\r${line.slice(0, (this.#terminal.columns || 80) - 1)}${eraseToEnd}`)
    this.#isShown = true
  }

  [Symbol.dispose](): void {
    if (this.#isShown) this.#terminal?.write(`\r${eraseToEnd}`)
  }
}
