export interface Counts {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
}

export const noCounts: Counts = { passed: 0, failed: 0, skipped: 0 }

export function sum(a: Counts, b: Counts): Counts {
  return { passed: a.passed + b.passed, failed: a.failed + b.failed, skipped: a.skipped + b.skipped }
}

/** Results of a TAP stream: one line a test, `ok` or `not ok`, skipped ones marked `# SKIP` or `# TODO`. */
export function countTap(text: string): Counts {
  const lines = text.split('\n').filter(line => /^(not )?ok\b/.test(line))
  const skipped = lines.filter(line => /# (SKIP|TODO)\b/i.test(line)).length
  const failed = lines.filter(line => line.startsWith('not ok') && !/# (SKIP|TODO)\b/i.test(line)).length
  return { passed: lines.length - skipped - failed, failed, skipped }
}

/** Results of a GoogleTest run, by its closing lines. */
export function countGoogleTest(text: string): Counts {
  const number = (word: string) => Number(new RegExp(`^\\[  ${word}  \\] (\\d+) tests?[,.]`, 'm').exec(text)?.[1] ?? 0)
  return { passed: number('PASSED'), failed: number('FAILED'), skipped: number('SKIPPED') }
}
