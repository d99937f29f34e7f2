import { TerminalChardev } from '../terminal-chardev.ts'

/**
 * A program on a terminal, for tests: it echoes what comes in brackets and tells sizes; `throw` and `exit` do so, and so
 * does the flood of output that nobody reads before it reports on standard error.
 */
const chardev = new TerminalChardev({ input: process.stdin, output: process.stdout, onEnd: () => finish() })

async function finish(): Promise<void> {
  await chardev.close()
  process.stderr.write('ended\n')
}

chardev.onBreak(() => chardev.write(Buffer.from('<break>')))
chardev.onResize(({ columns, rows }) => chardev.write(Buffer.from(`<${columns}x${rows}>`)))
chardev.onInput(bytes => {
  const text = Buffer.from(bytes).toString('latin1')
  if (text === 'throw') throw new Error('as told')
  if (text === 'exit') process.exit(3)
  if (text === 'flood') {
    for (let round = 0; round < 64; round += 1) chardev.write(Buffer.alloc(65536, 'x'))
    process.stderr.write('flooded\n')
    return
  }
  chardev.write(Buffer.from(`[${text}]`, 'latin1'))
})
process.stderr.write('ready\n')
