import test from 'ava'
import type { CellResult, Group } from './plan.ts'
import { junitReport, markdownReport } from './report.ts'

const group: Group = {
  image: { name: 'ubuntu-like', distro: 'ubuntu', isReal: false, path: '/u' },
  ...{ way: 'custom', vcpus: 1, verbs: ['boot', 'restore', 'reboot', 'clone'] },
}
const real: Group = {
  image: { name: 'debian-12', distro: 'ubuntu', isReal: true, path: '/cache/debian-12.raw' },
  ...{ way: 'qemu', vcpus: 1, verbs: ['boot'] },
}
const of = { image: 'ubuntu-like', way: 'custom', vcpus: 1 } as const
const results: readonly CellResult[] = [
  { ...of, verb: 'boot', seconds: 41.4 },
  { ...of, verb: 'reboot', seconds: 60.2, startSeconds: 2.6 },
  {
    ...of,
    verb: 'restore',
    seconds: 12.7,
    startSeconds: 3.4,
    error: 'no /login: / within 3 ms:\n<\u001b[2J & "more">',
  },
  { image: 'debian-12', way: 'qemu', vcpus: 1, verb: 'boot', seconds: 99.9 },
]

test('the table has a row for each machine, seconds, failures with their text, and which images were real', t => {
  const text = markdownReport([group, real], results)
  t.true(
    text.includes('| image | boots by | vCPUs | boot | restore | reboot | clone |\n|---|---|---|---|---|---|---|\n'),
    text,
  )
  t.true(text.includes('\n| ubuntu-like | custom | 1 | 41 | **failed** (13 / 3) | 60 / 3 | not run |\n'), text)
  t.true(text.includes('\n| debian-12 | qemu | 1 | 100 |  |  |  |\n'), text)
  t.true(
    text.includes('\n5 cells: 3 passed, 1 failed, 1 not run; the slowest is debian-12-qemu-1-boot with 100 s.\n'),
    text,
  )
  t.true(
    text.includes(
      "- ubuntu-like: stands in, made of Debian packages\n- debian-12: the distribution's own, /cache/debian-12.raw\n",
    ),
  )
  t.true(text.includes('**ubuntu-like-custom-1-restore**\n\n```\nno /login: / within 3 ms:\n'))
})

test('the same is there for programs, and what was not run has failed', t => {
  const text = junitReport([group, real], results)
  t.true(text.includes('<testsuite name="ubuntu-like" tests="4" failures="2" time="114.3">'))
  t.true(text.includes('<testcase classname="custom with 1 vCPUs" name="boot" time="41.4"/>'), text)
  t.true(text.includes('<failure message="no /login: / within 3 ms:">'))
  t.true(text.includes('&lt;?[2J &amp; &quot;more&quot;&gt;</failure>'), text)
  t.true(text.includes('<failure message="it was not run">it was not run</failure>'))
})
