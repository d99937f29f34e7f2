import test from 'ava'
import { countGoogleTest, countTap } from './test-counts.ts'

test('TAP lines are counted by their result, skipped ones apart', t => {
  const text = 'TAP version 13\nok 1 - a\nnot ok 2 - b\n  ---\nok 3 - c # SKIP\nnot ok 4 - d # TODO\n1..4\n# pass 1'
  t.deepEqual(countTap(text), { passed: 1, failed: 1, skipped: 2 })
})

test('GoogleTest says by its last lines how it ended', t => {
  t.deepEqual(countGoogleTest('[  PASSED  ] 6 tests.\n[  FAILED  ] 1 test, listed below:'), {
    passed: 6,
    failed: 1,
    skipped: 0,
  })
})
