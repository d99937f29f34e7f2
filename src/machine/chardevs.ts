import { type Chardev, nullChardev } from '../backends/chardev.ts'
import { FileChardev } from '../backends/file-chardev.ts'
import { TerminalChardev } from '../backends/terminal-chardev.ts'
import type { ChardevConfig } from '../config/vm-config.ts'

/** Opens what `--serial` or `--console` names. Throws ERR_CHARDEV. */
export function openChardev(option: string, { mode, file }: ChardevConfig): Chardev {
  if (mode === 'File') return FileChardev.open(option, file ?? '')
  if (mode === 'Tty') return new TerminalChardev(process.stdin, process.stdout)
  return nullChardev
}
