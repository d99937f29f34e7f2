import { setTimeout } from 'node:timers/promises'
import type { Progress, ProgressBar } from './progress-bar.ts'

const pollMs = 250

/** Until `answer` is there, shows what `read` makes of what `ask` answers. It is not missed where it fails. */
export async function watchedAnswer<T>(
  answer: Promise<T>,
  ask: () => Promise<string>,
  read: (json: unknown) => Progress,
  bar: ProgressBar,
): Promise<T> {
  using shown = bar
  const over = new AbortController()
  const watch = async () => {
    while (!over.signal.aborted) {
      const progress = await ask()
        .then(text => read(JSON.parse(text)))
        .catch(() => undefined)
      if (progress !== undefined && !over.signal.aborted) shown.show(progress)
      await setTimeout(pollMs, undefined, { signal: over.signal }).catch(() => {})
    }
  }
  const watching = watch()
  try {
    return await answer
  } finally {
    over.abort()
    await watching
  }
}
