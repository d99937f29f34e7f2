import test from 'ava'
import { ProgressBar } from './progress-bar.ts'

function terminal(isTTY: boolean, columns = 80) {
  const written: string[] = []
  const write = (text: string | Uint8Array) => {
    written.push(String(text))
    return true
  }
  return { isTTY, columns, write, written }
}

test('a bar is written over on a terminal and gone in the end', t => {
  const screen = terminal(true)
  {
    using bar = new ProgressBar('saving', screen)
    bar.show({ done: 0, total: 4 })
    bar.show({ done: 2, total: 4, detail: '8 MiB written' })
    bar.show({ done: 9, total: 4 })
  }
  t.deepEqual(screen.written, [
    `\rsaving [${' '.repeat(30)}]   0 %  \x1b[K`,
    `\rsaving [${'#'.repeat(15)}${' '.repeat(15)}]  50 %  8 MiB written\x1b[K`,
    `\rsaving [${'#'.repeat(30)}] 100 %  \x1b[K`,
    '\r\x1b[K',
  ])
})

test('it fits into the line, whatever that is', t => {
  const screen = terminal(true, 20)
  using bar = new ProgressBar('saving', screen)
  bar.show({ done: 1, total: 2 })
  t.deepEqual(screen.written, [`\rsaving [###########\x1b[K`])
})

test('where there is no terminal, and nothing to do, nothing is written', t => {
  const file = terminal(false)
  {
    using bar = new ProgressBar('saving', file)
    t.false(bar.isVisible)
    bar.show({ done: 1, total: 2 })
  }
  const screen = terminal(true)
  {
    using bar = new ProgressBar('saving', screen)
    bar.show({ done: 0, total: 0 })
  }
  t.deepEqual([...file.written, ...screen.written], [])
})
