import { setTimeout } from 'node:timers/promises'
import test from 'ava'
import { ProgressBar } from './progress-bar.ts'
import { readSnapshotProgress } from './snapshot-progress.ts'
import { watchedAnswer } from './watched-answer.ts'

test('what the server says is shown until the answer is there, and what is not to be understood is not', async t => {
  const written: string[] = []
  const write = (text: string | Uint8Array) => {
    written.push(String(text))
    return true
  }
  const answers = ['{"bytes_done":4194304,"bytes_total":8388608,"bytes_written":1048576}', '{}', '[', 'null']
  const asked = Promise.withResolvers<void>()
  const ask = async () => {
    const answer = answers.shift()
    if (answer !== undefined) return answer
    asked.resolve()
    throw new Error('it has gone')
  }
  const bar = new ProgressBar('saving', { isTTY: true, columns: 80, write })
  const answer = await watchedAnswer(
    asked.promise.then(() => setTimeout(1, 'saved')),
    ask,
    readSnapshotProgress,
    bar,
  )
  t.is(answer, 'saved')
  t.deepEqual(written, [
    `\rsaving [${'#'.repeat(15)}${' '.repeat(15)}]  50 %  of 8 MiB, 1 MiB written\x1b[K`,
    '\r\x1b[K',
  ])
})
