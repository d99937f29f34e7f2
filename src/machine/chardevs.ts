import { type Chardev, nullChardev } from '../backends/chardev.ts'
import { FileChardev } from '../backends/file-chardev.ts'
import { PtyChardev } from '../backends/pty-chardev.native.ts'
import { SocketChardev } from '../backends/socket-chardev.ts'
import { TerminalChardev } from '../backends/terminal-chardev.ts'

/** What `--serial` or `--console` names. */
export interface ChardevTarget {
  readonly mode: 'Off' | 'Null' | 'Tty' | 'Pty' | 'File' | 'Socket'
  readonly file?: string | undefined
  readonly socket?: string | undefined
}

/** Opens it; `onEnd` is called where the person at the terminal asks for the end. Throws ERR_CHARDEV. */
export async function openChardev(option: string, target: ChardevTarget, onEnd: () => void): Promise<Chardev> {
  switch (target.mode) {
    case 'File':
      return FileChardev.open(option, target.file ?? '')
    case 'Socket':
      return SocketChardev.open(option, target.socket ?? '')
    case 'Pty':
      return PtyChardev.open(option)
    case 'Tty': {
      // Behind a relay that has put a terminal into raw mode (the nested lab) a person types as well.
      const hasPerson = process.env['TSVMM_TERMINAL'] === '1'
      return new TerminalChardev({ input: process.stdin, output: process.stdout, hasPerson, onEnd })
    }
    default:
      return nullChardev
  }
}
